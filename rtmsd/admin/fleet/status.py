"""One status of all workers."""

import re
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import attrs

from rtmsd.admin.fleet.kept import SHARED, Disks
from rtmsd.admin.fleet.peers import Answers, in_order
from rtmsd.admin.fleet.reading import found, items, numbers, objects
from rtmsd.admin.messages import JsonObject

WORKER_SILENT: Final = "worker_silent"
"""The trouble that a worker does not answer; its other codes are `rtmsd.daemon.health.TroubleCode`."""

_NUMBER: Final = re.compile(r"\b\d+(?:\.\d+)?\b")


@attrs.frozen
class ParentProcess:
    """The process above the workers, which is the daemon for whoever looks from outside.

    Attributes:
        began_s: by `time.monotonic`, which all processes of a machine share.
    """

    pid: int
    began_s: float


def merged(answers: Answers[JsonObject], me: str, parent: ParentProcess, *, disks: Disks = SHARED) -> JsonObject:
    """Return the status of all. What they share is taken from `me`, whose status is among them."""
    each = list(answers.heard.values())
    mine = answers.heard[me]
    return {
        **mine,
        "pid": parent.pid,
        "tasks": sum(numbers(each, "tasks")),
        "uptime_s": round(time.monotonic() - parent.began_s, 1),
        "phase": _phase([str(found(status, "phase")) for status in each]),
        "ready": any(found(status, "ready") is True for status in each),
        "draining": all(found(status, "draining") is True for status in each),
        "degraded": [*_silence(answers.silent), *_degraded(answers.heard, disks.own_troubles)],
        "streams": _counts(each, "streams"),
        "totals": {
            **_object(found(mine, "totals")),
            "streams": sum(numbers(each, "totals", "streams")),
            "ended": _counts(each, "totals", "ended"),
            "lost": _joined(each, ("totals", "lost"), disks.total),
            "messages": _counts(each, "totals", "messages"),
            "dropped": sum(numbers(each, "totals", "dropped")),
        },
        "disk": {
            **_object(found(mine, "disk")),
            "free_bytes": min(numbers(each, "disk", "free_bytes"), default=None),
            "pending_bytes": sum(numbers(each, "disk", "pending_bytes")),
            **{
                name: max(numbers(each, "disk", name), default=0.0)
                for name in ("last_sync_age_s", "unsynced_s", "unsynced_max_s")
            },
            "error": _first(each, "disk", "error"),
            "directories": [
                directory for status in disks.of(mine, each) for directory in items(status, "disk", "directories")
            ],
        },
        "state": {
            **_object(found(mine, "state")),
            "error": _first(each, "state", "error"),
            "set_aside": _first(each, "state", "set_aside"),
        },
        "deliveries": _joined(each, ("deliveries",), disks.total),
        "warnings": list(dict.fromkeys(str(text) for status in each for text in items(status, "warnings"))),
        "webhook": {
            "last_ms": max(numbers(each, "webhook", "last_ms"), default=None),
            "results": _counts(each, "webhook", "results"),
        },
        "workers": _workers(answers),
        "silent": list(answers.silent),
    }


def _workers(answers: Answers[JsonObject]) -> list[JsonObject]:
    """Return an entry for each, in their order; a silent one has the reason."""
    entries: dict[str, JsonObject] = {
        worker: {
            "worker": worker,
            "pid": status.get("pid"),
            "streams": sum(_counts([status], "streams").values()),
            **{name: status.get(name) for name in ("version", "uptime_s", "phase", "ready", "draining")},
            "pending_bytes": found(status, "disk", "pending_bytes"),
        }
        for worker, status in answers.heard.items()
    }
    for worker, why in answers.silent.items():
        entries[worker] = {"worker": worker, "pid": None, "streams": None, "silent": why}
    return list(in_order(entries).values())


def _silence(silent: Mapping[str, str]) -> list[JsonObject]:
    return [
        {"code": WORKER_SILENT, "detail": f"worker {worker} does not answer: {why}", "worker": worker}
        for worker, why in silent.items()
    ]


def _degraded(statuses: Mapping[str, JsonObject], own: Collection[str]) -> list[JsonObject]:
    """Return each trouble once, with `worker` where only one has it.

    The same one may come with other figures, as each has looked at another moment.

    Args:
        own: codes of those that each has for itself.
    """
    troubles: dict[tuple[str, str], tuple[JsonObject, list[str]]] = {}
    for worker, status in statuses.items():
        for trouble in objects(status, "degraded"):
            code = str(trouble.get("code"))
            identity = code, worker if code in own else alike(str(trouble.get("detail")))
            troubles.setdefault(identity, (trouble, []))[1].append(worker)
    return [
        {**trouble, "worker": workers[0]} if len(workers) == 1 else trouble for trouble, workers in troubles.values()
    ]


def alike(text: str) -> str:
    """Return what a text has in common with the same one with other figures."""
    return _NUMBER.sub("0", text)


def _phase(phases: Sequence[str]) -> str:
    """The daemon stops when one of its workers does; it serves as soon as one does."""
    for phase in ("stopping", "serving"):
        if phase in phases:
            return phase
    return phases[0]


def _counts(values: Iterable[JsonObject], *names: str) -> dict[str, int]:
    return _joined(values, names, sum)


def _joined(values: Iterable[JsonObject], names: tuple[str, ...], join: Any) -> dict[str, int]:
    """Return the joined numbers, by name."""
    tables = [_object(found(value, *names)) for value in values]
    keys = dict.fromkeys(key for table in tables for key in table)
    return {key: join(each) for key in keys if (each := numbers(tables, key))}


def _object(value: Any) -> JsonObject:
    return value if isinstance(value, Mapping) else {}


def _first(values: Iterable[JsonObject], *names: str) -> Any:
    return next((each for value in values if (each := found(value, *names)) is not None), None)
