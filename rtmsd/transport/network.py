"""TCP as a Trio stream that can also be read without waiting, and all such streams waited on in one place.

A Trio task that waits for its own socket costs a wake-up, two tries to read, an `epoll_ctl` and a task switch for each
packet. On media sockets, hundreds of which bring a packet every 20 ms, that is most of the work. So one task waits for
all of them, in an epoll set of its own in which a socket stays once it is there, and calls whoever reads it.
"""

import os
import select
from collections.abc import Callable
from typing import Final

import attrs
import outcome
import trio

READ_BYTES: Final = 256 * 1024
NOWAIT_BYTES: Final = 64 * 1024
_TURN_SOCKETS: Final = 16  # read before other tasks get their turn, 4 ms when all are flooded; the rest comes next


class TcpStream(trio.abc.Stream):
    """`trio.SocketStream` that can be read without waiting."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._fd = stream.socket.fileno()

    def fileno(self) -> int:
        """The descriptor, as long as the stream is not closed."""
        return self._fd

    def receive_nowait(self) -> bytes:
        """Return what has come, b"" at the end.

        Raises:
            WouldBlock: nothing has come, or nothing whole.
            BrokenResourceError: the connection broke.
        """
        try:
            return os.read(self._fd, NOWAIT_BYTES)
        except BlockingIOError:
            raise trio.WouldBlock from None
        except OSError as exc:
            raise trio.BrokenResourceError(f"socket connection broken: {exc}") from exc

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return bytes(await self._stream.receive_some(max_bytes or READ_BYTES))

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


OnReadable = Callable[[], bool]
"""Reads what has come; whether to be called again. What it raises is raised by `SocketSet.wait`."""


@attrs.frozen
class _Waiting:
    on_readable: OnReadable
    task: trio.lowlevel.Task


class SocketSet:
    """The sockets that one task waits on. Level-triggered: what a call leaves unread is reported again."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._waiting: dict[int, _Waiting] = {}

    async def wait(self, fd: int, on_readable: OnReadable) -> None:
        """Have `on_readable` called, in the context of this task, each time `fd` is readable, until it returns False.

        Raises:
            Exception: what `on_readable` raised; ClosedResourceError from `closing`.
        """
        self._waiting[fd] = _Waiting(on_readable, trio.lowlevel.current_task())
        self._epoll.register(fd, select.EPOLLIN)

        def abort(_: object) -> trio.lowlevel.Abort:
            self._forget(fd)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def closing(self, fd: int) -> None:
        """`fd` is about to be closed: whoever waits for it gets ClosedResourceError."""
        if fd in self._waiting:
            self._wake(fd, outcome.Error(trio.ClosedResourceError("another task closed this stream")))

    async def run(self) -> None:
        """Wait, and call whom it concerns, for ever."""
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            for fd, _ in self._epoll.poll(0, _TURN_SOCKETS):
                waiting = self._waiting.get(fd)
                if waiting is not None:  # else it was closed just now
                    self._call(fd, waiting)

    def _call(self, fd: int, waiting: _Waiting) -> None:
        try:
            if waiting.task.context.run(waiting.on_readable):
                return
        except Exception as exc:  # whose it is: a bug in there ends its connection, not this task
            self._wake(fd, outcome.Error(exc))
        else:
            self._wake(fd, outcome.Value(None))

    def _wake(self, fd: int, result: outcome.Outcome[None]) -> None:
        trio.lowlevel.reschedule(self._forget(fd).task, result)

    def _forget(self, fd: int) -> _Waiting:
        self._epoll.unregister(fd)
        return self._waiting.pop(fd)


_socket_set: trio.lowlevel.RunVar[SocketSet | None] = trio.lowlevel.RunVar("rtmsd_socket_set", None)


def socket_set() -> SocketSet | None:
    """Return the one for this Trio run; None where there is no epoll, and each task must wait by itself."""
    found = _socket_set.get()
    if found is None and hasattr(select, "epoll"):
        found = SocketSet()
        _socket_set.set(found)
        trio.lowlevel.spawn_system_task(found.run, name="media sockets")
    return found
