"""The daemon as a whole: status, metrics, version."""

import math
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from rtmsd import __version__
from rtmsd.ctl.context import Context
from rtmsd.ctl.formatting import duration, listed, printable, size
from rtmsd.ctl.output import Column, Item, Style, key

SILENT: Final = "silent"
WORKER_SILENT: Final = "worker_silent"  # its detail names the worker
NOTABLE_AGE_S: Final = 1.0  # a healthy disk syncs twice a second


def status(context: Context) -> None:
    """Show the state of the daemon."""
    answer = context.client.get("/v1/status")
    context.out.record(answer, STATUS_COLUMNS)
    if not context.out.as_json:
        for style, text in troubles(answer):
            context.out.line(context.out.styled(printable(text), style))
        if workers := answer.get("workers"):
            context.out.section("workers")
            context.out.rows(workers, WORKER_COLUMNS)


def health(answer: Item) -> str:
    """Return one word for the state of the daemon."""
    if not answer.get("ready"):
        phase = answer.get("phase", "starting")
        return "draining" if answer.get("draining") and phase == "serving" else phase
    return "degraded" if answer.get("degraded") else "ok"


def troubles(answer: Item) -> Iterator[tuple[Style, str]]:
    """Yield what is wrong, worst first."""
    for trouble in answer.get("degraded") or ():
        whose = f"worker {trouble['worker']}: " if trouble.get("worker") and trouble["code"] != WORKER_SILENT else ""
        yield Style.BAD, f"degraded: {whose}{trouble['detail']} ({trouble['code']})"
    for warning in answer.get("warnings") or ():
        yield Style.WARN, f"warning: {warning}"
    if answer.get("version") not in (None, __version__):
        yield Style.WARN, f"warning: the daemon runs {answer['version']}, {__version__} is installed: restart it"


def worker_state(worker: Item) -> str:
    """Return one word for the state of a worker."""
    return SILENT if worker.get("silent") else health(worker)


def by_worker(answer: Item) -> str:
    """Return the streams of each worker: "1: 40, 2: 38, 3: silent"."""
    workers = answer.get("workers") or ()
    return ", ".join(
        f"{worker['worker']}: {SILENT if worker.get('silent') else worker.get('streams')}" for worker in workers
    )


def summed_up(numbers: Mapping[str, Any] | None) -> str:
    """Return the counts above 0: "3 active, 1 recovering"."""
    return ", ".join(f"{number} {name}" for name, number in (numbers or {}).items() if number) or "none"


def webhooks(answer: Item) -> str:
    """Return the age of the last webhook, and the results of all."""
    webhook = answer.get("webhook") or {}
    if webhook.get("last_ms") is None:
        return "none came since the start"
    results = {name.replace("_", " "): number for name, number in (webhook.get("results") or {}).items()}
    return f"last {duration(time.time() - webhook['last_ms'] / 1000)} ago; {summed_up(results)}"


def received(answer: Item) -> str:
    """Return what was received since the daemon started."""
    totals = answer.get("totals") or {}
    return (
        f"{summed_up(totals.get('messages'))} (messages), "
        f"{totals.get('dropped', 0)} dropped, in {totals.get('streams', 0)} streams"
    )


def ended(answer: Item) -> str:
    """Return how streams ended since the daemon started."""
    totals = answer.get("totals") or {}
    lost = {name.replace("_", " "): number for name, number in (totals.get("lost") or {}).items()}
    return f"{summed_up(totals.get('ended'))}{'; in the last hour ' + summed_up(lost) if lost else ''}"


def deliveries(answer: Item) -> str:
    """Return how many deliveries are not done: the answer counts no others."""
    found = summed_up(answer.get("deliveries"))
    return "none waiting, running or dead" if found == "none" else found


def disk(answer: Item) -> str:
    """Return the free space, and what is not yet written."""
    figures = answer.get("disk") or {}
    directories = figures.get("directories") or ()
    free = [f"{size(figures.get('free_bytes'))} free"]
    if len(directories) > 1:
        free = [f"{size(each.get('free_bytes'))} free in {each['directory']}" for each in directories]
    parts = [*free, f"{size(figures.get('pending_bytes'))} to write"]
    if (age_s := figures.get("last_sync_age_s", 0.0)) >= NOTABLE_AGE_S:
        parts.append(f"last synced {duration(age_s)} ago")
    if figures.get("error"):
        parts.append(str(figures["error"]))
    return ", ".join(parts)


STATUS_COLUMNS: Final = (
    Column("state", health),
    Column("version", key("version")),
    Column("pid", key("pid")),
    Column("up", lambda answer: duration(answer.get("uptime_s")), key("uptime_s")),
    Column("streams", lambda answer: summed_up(answer.get("streams"))),
    Column("ended", ended),
    Column("webhooks", webhooks),
    Column("received", received),
    Column("deliveries", deliveries),
    Column("disk", disk),
    Column("listening", lambda answer: listed(answer.get("listening"))),
    Column("config", key("config_file")),
)

WORKER_COLUMNS: Final = (
    Column("WORKER", key("worker")),
    Column("STATE", worker_state),
    Column("PID", key("pid"), right=True),
    Column("UP", lambda worker: duration(worker.get("uptime_s")), key("uptime_s"), right=True),
    Column("STREAMS", key("streams"), right=True),
    Column("TO WRITE", lambda worker: size(worker.get("pending_bytes")), key("pending_bytes"), right=True),
    Column("VERSION", key("version"), rank=2),
    Column("WHY", key("silent"), rank=1),
)


def metrics(context: Context) -> None:
    """Print the Prometheus text; with --json an object of samples, by name and labels as written."""
    text = context.client.text("/v1/metrics")
    context.warn_of_silent()
    if context.out.as_json:
        samples = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
        context.out.json({name: json_number(value) for name, _, value in samples})
    else:
        context.out.line("\n".join(map(printable, text.removesuffix("\n").split("\n"))))


def json_number(text: str) -> float | str:
    """Return a sample's value; JSON has no NaN and no infinity, so these stay text."""
    value = float(text)
    return value if math.isfinite(value) else text


def version(context: Context) -> None:
    """Print our own version, without asking the daemon: `status` has its version."""
    context.out.said({"version": __version__}, f"rtmsctl {__version__}")
