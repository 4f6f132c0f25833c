"""What a member knows of a stream that it has just claimed: how far the owner before it has come."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import structlog
import trio

from rtmsd.cluster.engine import EngineError, StreamLog
from rtmsd.cluster.records import Own, Part, PartState
from rtmsd.recording.manifest.part import PartTenure
from rtmsd.recording.parts import Inherited

log = structlog.get_logger(__name__)

READ_S: Final = 1.0
AHEAD_MS: Final = 12 * 3_600_000
"""A part that has come further than this beyond the clock here is not believed: as in `recording.timeline`."""


class Inheritance:
    """Prepares what `Supervisor.adopt` is to know besides.

    Args:
        clock_ms: local time in milliseconds since the Unix epoch.

    Attributes:
        ignored: records of parts that cannot be of the stream's owners before.
    """

    def __init__(self, engine: StreamLog, clock_ms: Callable[[], int]) -> None:
        self.ignored = 0
        self._engine, self._clock_ms = engine, clock_ms

    async def prepare(self, own: Own, token: int) -> Mapping[str, Any]:
        """Return tenure and inheritance of a stream that was just claimed. Never fails: what is not known is missing
        since the stream began, until its parts are gathered.
        """
        tenure = PartTenure(node=own.node, epoch=own.epoch, token=token)
        inherited = None
        if own.epoch > 1:
            try:
                with trio.move_on_after(READ_S):
                    inherited = self._latest(own, await self._engine.parts(own.rtms_stream_id))
            except EngineError as error:
                log.info("parts not read", rtms_stream_id=own.rtms_stream_id, error=str(error))
            except Exception:
                log.exception("parts not read", rtms_stream_id=own.rtms_stream_id)
        return {"tenure": tenure, "inherited": inherited}

    def _latest(self, own: Own, parts: Sequence[Part]) -> Inherited | None:
        """Return what the latest part says of which anything was recorded. None: there is no part, or this member's own
        directory has it.
        """
        parts = [part for part in parts if part.state is not PartState.DELETED]
        believed = [part for part in parts if self._is_believable(part, own)]
        self.ignored += len(parts) - len(believed)
        latest = max(believed, key=lambda part: (part.clock_ms is not None, part.epoch), default=None)
        if latest is None or latest.node == own.node:
            return None
        return Inherited.read(
            node=latest.node,
            epoch=latest.epoch,
            clock_ms=latest.clock_ms,
            first_packet_ms=latest.first_packet_ms,
            paused_since_ms=latest.paused_since_ms,
            participants=latest.participants,
            media=latest.media,
            has_ended=latest.state is PartState.ENDED,
        )

    def _is_believable(self, part: Part, own: Own) -> bool:
        if part.rtms_stream_id != own.rtms_stream_id or not 1 <= part.epoch < own.epoch:
            return False
        return part.clock_ms is None or part.clock_ms <= self._clock_ms() + AHEAD_MS
