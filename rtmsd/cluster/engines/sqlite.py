"""The records of ownership in the state file, which the workers of one machine share."""

import json
import sqlite3
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Final, TypeVar

import attrs

from rtmsd.cluster.engine import Away, Lost
from rtmsd.cluster.records import Held, Own, TenureState, Why
from rtmsd.errors import StorageError
from rtmsd.state import owners
from rtmsd.state.journal import Journal
from rtmsd.state.owners import Owned, OwnRow

T = TypeVar("T")

_REASONS: Final = {why.value: why for why in Why}


class SqliteStore:
    """An `OwnerStore`. A claim is one transaction with the stream's row, and on disk when it is answered.

    The known of a `Held` is what the state file has, whoever wrote it. A claim is lost as well when a webhook was
    recorded since the stream was read: `Lost.winner` has then the token that was seen, and what is known by now.

    Args:
        clock_ms: local time in milliseconds since the Unix epoch.
    """

    def __init__(self, journal: Journal, clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self._journal = journal
        self._clock_ms = clock_ms

    @property
    def is_up(self) -> bool:
        """See `cluster.engine.OwnerStore`, as the others."""
        return self._journal.trouble is None

    async def read(self, rtms_stream_id: str) -> Held:
        return _held(await self._do(partial(owners.read, rtms_stream_id=rtms_stream_id)))

    async def claim(self, own: Own, *, seen: int) -> int:
        claim = partial(owners.claim, own=_row(own), known=own.known, seen=seen, now_ms=self._clock_ms())
        # A stream that begins needs a file that the next start will find; one that goes on does not wait for that.
        result = await self._do(claim, needs_file=own.why is Why.STARTED)
        if isinstance(result, Owned):
            raise Lost(_held(result))
        return result

    async def orphans(self, living: Collection[str]) -> Sequence[Held]:
        return [_held(owned) for owned in await self._do(partial(owners.orphans, living=frozenset(living)))]

    async def _do(self, work: Callable[[sqlite3.Connection], T], *, needs_file: bool = False) -> T:
        try:
            return await self._journal.transact(work, needs_file=needs_file)
        except StorageError as exc:
            raise Away(str(exc)) from exc


def _row(own: Own) -> OwnRow:
    fields = attrs.asdict(own, recurse=False, filter=attrs.filters.exclude("known"))
    return OwnRow(**{**fields, "more": json.dumps(dict(own.more))})


def _held(owned: Owned) -> Held:
    if owned.own is None:
        return Held(known=owned.known)
    fields = attrs.asdict(owned.own)
    own = Own(
        **{
            **fields,
            "why": _REASONS.get(owned.own.why, Why.OTHER),
            "state": TenureState(owned.own.state),
            "more": json.loads(owned.own.more),
            "known": owned.known,
        }
    )
    return Held(own, owned.token, owned.known)
