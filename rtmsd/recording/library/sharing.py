"""The recordings that several processes share: which streams are open in any of them, and who deletes what.

Within one process a deletion and the opening of files exclude each other in the Trio thread; among several, in the
state file. A stream is in the journal before its files are opened, and closed there after them. A deletion is entered
in a transaction that sees no such stream, and a stream that comes later waits until the deletion is done.
"""

from collections.abc import Callable
from functools import partial
from sqlite3 import Connection
from typing import Final, Protocol, TypeVar

import structlog
import trio

from rtmsd.errors import StorageError
from rtmsd.recording.disk.paths import safe_name
from rtmsd.state import deletions, ledger

log = structlog.get_logger(__name__)

T = TypeVar("T")

_LOOK_EVERY_S: Final = 0.05  # a rename takes less, on a disk that answers
_AGAIN_S: Final = 1.0
_LAST_TRY_S: Final = 5.0  # of a process that stops: what it leaves is forgotten after its death


class Transactions(Protocol):
    """The part of the journal that is needed here."""

    async def transact(self, work: Callable[[Connection], T]) -> T: ...


class SharedRecordings:
    """The knowledge of recordings that one process shares with others, by the names of their directories.

    Args:
        process: a name that no other process has or had: `forget` is called with it when this one is dead.
    """

    def __init__(self, journal: Transactions, process: str) -> None:
        self._journal = journal
        self._process = process

    async def open_names(self) -> frozenset[str]:
        """Return the streams that are not closed, in whatever process.

        Raises:
            StorageError: the state file refuses.
        """
        unfinished = await self._journal.transact(ledger.unfinished)
        return frozenset(safe_name(row.rtms_stream_id) for row in unfinished)

    async def begin(self, name: str) -> bool:
        """Enter a deletion. Returns False where the stream is open, or another process is deleting it.

        Raises:
            StorageError: the state file refuses.
        """
        enter = partial(deletions.begin, name=name, process=self._process, name_of=safe_name)
        return await self._journal.transact(enter)

    async def end(self, name: str) -> None:
        """Take note that a deletion is done, or is not to be; as soon as the state file takes it."""
        done = partial(deletions.end, name=name, process=self._process)
        with trio.move_on_after(_LAST_TRY_S, shield=True):
            await self._persist(done)
            return
        await self._persist(done)

    async def wait_gone(self, name: str) -> None:
        """Wait until no process is deleting this recording. A state file that cannot be read holds up no stream."""
        try:
            while True:
                if not await self._journal.transact(partial(deletions.is_under_way, name=name)):
                    return
                await trio.sleep(_LOOK_EVERY_S)
        except StorageError as error:
            log.warning("deletions of other processes are not known", recording=name, error=str(error))

    async def forget(self, process: str) -> None:
        """Forget what a process was deleting that is dead, and waited for: nothing of it can disappear any more."""
        await self._persist(partial(deletions.forget, process=process))

    async def _persist(self, work: Callable[[Connection], None]) -> None:
        is_refused = False
        while True:
            try:
                await self._journal.transact(work)
            except StorageError as error:
                if not is_refused:
                    log.warning("a deletion is not noted as done; streams wait for it", error=str(error))
                is_refused = True
                await trio.sleep(_AGAIN_S)
            else:
                return
