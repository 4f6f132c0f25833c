"""The checks of the report that are of workers alone."""

from collections.abc import Iterable, Iterator, Sequence

from rtmsd.demo.checks import Check
from rtmsd.demo.incidents.checks import common_checks
from rtmsd.demo.incidents.incidents import Stream
from rtmsd.demo.incidents.log import Line
from rtmsd.demo.workers.story import RELOAD, WorkersPerformance


def all_checks(
    performance: WorkersPerformance, streams: Sequence[Stream], lines: Iterable[Line], send_rate_ms: int
) -> list[Check]:
    """Return every check.

    Args:
        lines: the daemon's log.
        send_rate_ms: of new streams, once the configuration was changed.
    """
    return [
        *common_checks(performance, streams, lines, "worker"),
        Check(
            "streams that began at once were shared out",
            len(performance.shares) == performance.workers
            and max(performance.shares.values()) - min(performance.shares.values()) <= 1,
            ", ".join(f"{number} at worker {worker}" for worker, number in sorted(performance.shares.items())),
        ),
        *_reload_checks(performance, streams, send_rate_ms),
        Check(
            "the worker that was started again got the next stream",
            performance.newcomer == performance.restarted != "",
            f"worker {performance.newcomer}",
        ),
        Check(
            "the daemon stopped cleanly, both times",
            performance.statuses == [0, 0],
            f"exit status {', '.join(map(str, performance.statuses))}",
        ),
    ]


def _reload_checks(performance: WorkersPerformance, streams: Sequence[Stream], send_rate_ms: int) -> Iterator[Check]:
    yield Check(
        "all workers use a configuration that was changed and reloaded",
        len(performance.reloaded) == performance.workers,
        f"worker {', '.join(sorted(performance.reloaded)) or 'none'}",
    )
    reload = next((incident for incident in performance.incidents if incident.name == RELOAD), None)
    if reload is not None:
        later = [stream for stream in streams if stream.played.session.started_ms >= reload.from_ms]
        found = {packet.duration_ms for s in later for log in s.played.session.record.audio.values() for packet in log}
        yield Check(
            "streams that begin afterwards are recorded by the changed configuration",
            found == {send_rate_ms},
            f"packets of {', '.join(map(str, sorted(found)))} ms",
        )
