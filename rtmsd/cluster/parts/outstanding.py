"""What members still have to do for others, and has not been done for a while."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final, NoReturn, TypeVar

import structlog
import trio

from rtmsd.errors import RtmsdError

Key = TypeVar("Key")

log = structlog.get_logger(__name__)

LOOK_EVERY_S: Final = 30.0
LATE_S: Final = 120.0


class Outstanding:
    """Looks now and then at parts that are to be joined, and at parts of revoked streams that are to be deleted.

    Args:
        ungathered: returns the streams whose parts are to be joined here.
        revoked: returns the streams that were revoked lately.
        unconfirmed: returns the members that have not deleted their part of one. Raises RtmsdError.
    """

    def __init__(
        self,
        *,
        ungathered: Callable[[], Collection[str]],
        revoked: Callable[[], Collection[str]],
        unconfirmed: Callable[[str], Awaitable[Collection[str]]],
    ) -> None:
        self._ungathered, self._revoked, self._unconfirmed = ungathered, revoked, unconfirmed
        self._ungathered_s: dict[str, float] = {}  # since when
        self._unconfirmed_s: dict[tuple[str, str], float] = {}  # by stream and member

    @property
    def ungathered(self) -> list[str]:
        """The streams whose parts are not joined for longer than `LATE_S`."""
        return sorted(_late(self._ungathered_s))

    @property
    def unconfirmed(self) -> Mapping[str, list[str]]:
        """The members that have not deleted a part for longer, by the stream that was revoked."""
        late: dict[str, list[str]] = {}
        for stream, node in sorted(_late(self._unconfirmed_s)):
            late.setdefault(stream, []).append(node)
        return late

    async def run(self) -> NoReturn:
        """Look, until cancelled."""
        while True:
            try:
                await self._look()
            except RtmsdError as error:
                log.info("what is outstanding is not known", why=str(error))
            except Exception:
                log.exception("looking for what is outstanding crashed")
            await trio.sleep(LOOK_EVERY_S)

    async def _look(self) -> None:
        self._ungathered_s = _kept(self._ungathered_s, self._ungathered())
        waited_for: list[tuple[str, str]] = []
        for stream in list(self._revoked()):
            waited_for += [(stream, node) for node in await self._unconfirmed(stream)]
        self._unconfirmed_s = _kept(self._unconfirmed_s, waited_for)


def _kept(before: Mapping[Key, float], now: Collection[Key]) -> dict[Key, float]:
    return {key: before.get(key, trio.current_time()) for key in now}


def _late(since_s: Mapping[Key, float]) -> list[Key]:
    return [key for key, at_s in since_s.items() if trio.current_time() - at_s >= LATE_S]
