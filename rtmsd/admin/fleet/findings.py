"""One list of findings of all workers' doctors."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rtmsd.admin.fleet.kept import SHARED, Disks
from rtmsd.admin.fleet.peers import Answers
from rtmsd.admin.fleet.status import alike
from rtmsd.admin.messages import JsonObject

CHECK: Final = "workers"
GOOD_ANYWHERE: Final = frozenset({"webhook"})
"""Checks of what comes to any worker: the others need not have had it."""

_HINT: Final = (
    "The parent starts a worker again that has ended or hangs: if this lasts, `journalctl -u rtmsd` has the reason."
)


def merged(answers: Answers[Sequence[JsonObject]], me: str, *, disks: Disks = SHARED) -> list[JsonObject]:
    """Return one finding for each check, in the order of `me`, whose findings are among them."""
    by_check: dict[str, dict[str, JsonObject]] = {}
    for worker in (me, *answers.heard):
        for finding in answers.heard[worker]:
            by_check.setdefault(str(finding.get("check")), {})[worker] = finding
    ones = (_one(check, findings, is_own=check in disks.own_checks) for check, findings in by_check.items())
    return [*ones, _answering(answers)]


def _one(check: str, findings: Mapping[str, JsonObject], *, is_own: bool) -> JsonObject:
    """A failure of one worker is one of all, and a success says more than that nothing is known."""
    bad = {worker: finding for worker, finding in findings.items() if finding.get("ok") is False}
    good = [finding for finding in findings.values() if finding.get("ok") is True]
    if good and (not bad or check in GOOD_ANYWHERE):
        return good[0]
    if not bad:
        return next(iter(findings.values()))
    return {**next(iter(bad.values())), "detail": _details(bad, findings, is_own=is_own)}


def _details(bad: Mapping[str, JsonObject], findings: Mapping[str, JsonObject], *, is_own: bool) -> str:
    """Return what is wrong, and with which workers when it is not with all."""
    details: dict[str, tuple[str, list[str]]] = {}
    for worker, finding in bad.items():
        detail = str(finding.get("detail"))
        details.setdefault(worker if is_own else alike(detail), (detail, []))[1].append(worker)
    return "; ".join(
        detail if len(workers) == len(findings) else f"worker {', '.join(workers)}: {detail}"
        for detail, workers in details.values()
    )


def _answering(answers: Answers[Any]) -> JsonObject:
    silent = "; ".join(f"worker {worker} does not answer: {why}" for worker, why in answers.silent.items())
    hint = _HINT if silent else ""
    detail = silent or f"{len(answers.heard)} of {len(answers.heard)} answer"
    return {"check": CHECK, "ok": not silent, "detail": detail, "hint": hint, "mend": hint}
