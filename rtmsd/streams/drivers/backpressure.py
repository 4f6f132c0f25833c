"""Backpressure: while a stream's unwritten media fill their bound, its sockets are not read, as long as is safe."""

from collections.abc import Awaitable, Callable

from rtmsd.recording.disk.file_buffer import Backlog


class Backpressure:
    """The gate before a media socket.

    An unread socket cannot answer its keep-alive. So waiting has a limit, and then everything is read, and dropped and
    counted by whoever has no room for it, until there is room again.

    Args:
        backlog: the unwritten media of the stream: what another one cannot write stops no reading here.
        wait_room: returns when there is room, or after the limit.
    """

    def __init__(self, backlog: Backlog, wait_room: Callable[[], Awaitable[None]]) -> None:
        self._backlog = backlog
        self._wait_room = wait_room
        self._has_waited = False

    def is_shut(self) -> bool:
        if not self._backlog.is_short:
            self._has_waited = False
            return False
        return not self._has_waited

    def has_room(self, size_bytes: int) -> bool:
        return self._backlog.has_room(size_bytes)

    async def wait(self) -> None:
        await self._wait_room()
        self._has_waited = True
