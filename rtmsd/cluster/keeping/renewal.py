"""The renewal of ownership records: the engine forgets what is old, and a session may last longer than that."""

from collections.abc import Mapping
from typing import Final, NoReturn, Protocol

import structlog
import trio

from rtmsd.cluster.records import Holding
from rtmsd.errors import RtmsdError

log = structlog.get_logger(__name__)

LOOKS: Final = 8  # in the time after which a record is renewed
LOOK_EVERY_S: Final = 60.0  # at the latest


class Ownership(Protocol):
    @property
    def mine(self) -> Mapping[str, Holding]: ...

    def hold(self, rtms_stream_id: str, token: int, epoch: int) -> None: ...


class Store(Protocol):
    """See `KeptStore.renew`."""

    async def renew(self, rtms_stream_id: str, incarnation: str) -> tuple[int, int] | None: ...


class Renewal:
    """Writes the record of each stream of this member again when it is half as old as the engine lets it become. The
    tenure goes on, with a new token.

    Args:
        incarnation: of this member.
        keep_s: how long the engine keeps a record.
    """

    def __init__(self, ownership: Ownership, store: Store, *, incarnation: str, keep_s: float) -> None:
        self._ownership, self._store, self._incarnation = ownership, store, incarnation
        self._after_s = keep_s / 2
        self._seen: dict[str, tuple[int, float]] = {}  # token, and since when it is known

    async def run(self) -> NoReturn:
        """Look now and then, until cancelled."""
        while True:
            await trio.sleep(min(self._after_s / LOOKS, LOOK_EVERY_S))
            await self.look()

    async def look(self) -> None:
        """Renew what is old."""
        now_s, mine = trio.current_time(), self._ownership.mine
        seen = {key: self._seen.get(key, (0, 0.0)) for key in mine}
        self._seen = {
            key: seen[key] if seen[key][0] == holding.token else (holding.token, now_s) for key, holding in mine.items()
        }
        for rtms_stream_id, (token, since_s) in self._seen.items():
            if token and since_s <= now_s - self._after_s:
                try:
                    renewed = await self._store.renew(rtms_stream_id, self._incarnation)
                except RtmsdError as error:  # the next look tries again, if it is still mine
                    log.info("ownership not renewed", rtms_stream_id=rtms_stream_id, error=str(error))
                except Exception:  # nor do the others wait for it
                    log.exception("ownership not renewed", rtms_stream_id=rtms_stream_id)
                else:
                    if renewed is not None:
                        self._ownership.hold(rtms_stream_id, *renewed)
