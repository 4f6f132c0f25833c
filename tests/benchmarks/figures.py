"""The figures of one measurement."""

from collections.abc import Sequence
from typing import Any

import attrs


@attrs.frozen(kw_only=True)
class Figures:
    """What came of a load; None: not measured, or nothing there to be measured (see `report.NOTES`).

    Attributes:
        cpu_us: user and system time of the client's process for each message.
        messages_per_cpu_s: the same the other way round.
        core_percent: of one core, while paced media flowed and nobody listened.
        lost: messages sent that the client did not get; for rtmsd, did not have on disk.
        dropped: those of `lost` that rtmsd itself counted, for want of room.
        p50_ms, p99_ms: from the sender's write to the tap, or to a peer's callback. In a flood that is mostly the time
            in the sockets' buffers, and known of the first message of each write.
        rss_kb: memory for each stream at rest, beyond what the client took with the first.
        keep_alive_p50_ms, keep_alive_p99_ms, keep_alive_ms: how late keep-alives on signaling were answered, the last
            of them at the latest, seen from the load generator and its own turns.
        skipped: those of `lost` that were not sent, since a socket's backlog was full.
        sender_core_percent, sender_late_ms: of the load generator itself; p99 behind its own pace.
        unsynced_ms: the age that the oldest byte not yet synced to disk had at most.
        ready_p50_ms: webhook to client-ready.
    """

    messages: int
    cpu_us: float
    lost: int
    dropped: int | None = None
    core_percent: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    rss_kb: float | None = None
    keep_alive_p50_ms: float | None = None
    keep_alive_p99_ms: float | None = None
    keep_alive_ms: float | None = None
    skipped: int | None = None
    sender_core_percent: float | None = None
    sender_late_ms: float | None = None
    unsynced_ms: float | None = None
    webhook_p99_ms: float | None = None
    ready_p50_ms: float | None = None
    payload_mb_per_s: float | None = None  # decoded, for each second of CPU time
    messages_per_cpu_s: float | None = attrs.field(init=False)

    @messages_per_cpu_s.default
    def _turn_round(self) -> float | None:
        return 1e6 / self.cpu_us if self.cpu_us else None


def percentile(values: Sequence[float], percent: float) -> float | None:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else None


def _answers_ms(report: dict[str, Any]) -> list[float]:
    return [*report["keep_alive_ms"], *report["keep_alives_waiting_ms"]]


def latest_answer_ms(report: dict[str, Any]) -> float | None:
    """The latest answer to a keep-alive; one not there yet counts by its age."""
    return max(_answers_ms(report), default=None)


def keep_alives(report: dict[str, Any]) -> dict[str, Any]:
    """The fields of `Figures` about keep-alives."""
    answers_ms = _answers_ms(report)
    return {
        "keep_alive_p50_ms": percentile(answers_ms, 50),
        "keep_alive_p99_ms": percentile(answers_ms, 99),
        "keep_alive_ms": latest_answer_ms(report),
    }
