"""The streams that an earlier life of this member had, by its state file: claimed again, or left to who has them."""

from collections.abc import Iterable
from typing import Final

import attrs
import structlog
import trio

from rtmsd.cluster.engine import EngineError
from rtmsd.cluster.keeping.journal import ClusterJournal
from rtmsd.cluster.lives import Lives
from rtmsd.cluster.ownership import Ownership
from rtmsd.cluster.records import Why
from rtmsd.protocol.causes import GapCause
from rtmsd.state.rows import StreamRow

log = structlog.get_logger(__name__)

AT_ONCE: Final = 64


async def resume_kept(
    rows: Iterable[StreamRow],
    journal: ClusterJournal,
    ownership: Ownership,
    lives: Lives,
    *,
    node: str,
    takeover_cause: GapCause,
) -> None:
    """Resume streams, those first that come first.

    Args:
        rows: what the state file has unfinished.
        node: this member.
        takeover_cause: of what is missing here of those that another member has.
    """
    at_once = trio.CapacityLimiter(AT_ONCE)

    async def resume(row: StreamRow) -> None:
        async with at_once:
            try:
                await _resume(row)
            except EngineError as error:
                log.warning("stream not resumed yet", rtms_stream_id=row.rtms_stream_id, error=str(error))
            except Exception:
                log.exception("stream not resumed", rtms_stream_id=row.rtms_stream_id)

    async def _resume(row: StreamRow) -> None:
        try:
            held = await ownership.read(row.rtms_stream_id)
        except EngineError:
            ownership.resume_unproven(row)
            return
        if held.own is None and held.known.row is None:  # begun without the engine, or without a cluster
            held = attrs.evolve(held, known=await journal.known(row.rtms_stream_id))
        if held.own is not None and held.own.node != node:
            # It is let go as soon as it asks whether it may connect, and by then its files are in order.
            lives.adopt(row, cause=takeover_cause)
        elif held.is_unfinished:
            log.info("stream resumes", rtms_stream_id=row.rtms_stream_id)
            await ownership.take(held, Why.RESUMED)

    async with trio.open_nursery() as nursery:
        for row in rows:
            nursery.start_soon(resume, row)
            await trio.lowlevel.checkpoint()  # tasks that begin in one turn may run in either order
