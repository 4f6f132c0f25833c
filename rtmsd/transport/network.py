"""TCP as a Trio stream that can also be read without waiting, and the one task that waits for all such streams.

A Trio task that waits for its own socket costs a wake-up, two tries to read, an `epoll_ctl` and a task switch for each
packet. On media sockets, hundreds of which bring a packet every 20 ms, that is most of the work. So one task waits for
all of them, in an epoll set of its own in which each stays registered, and calls their readers.
"""

import contextlib
import enum
import math
import os
import select
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import attrs
import outcome
import trio

from rtmsd.transport.timer import Timer

if TYPE_CHECKING:
    from rtmsd.accelerator._packets import Reader

READ_BYTES: Final = 256 * 1024
NOWAIT_BYTES: Final = 64 * 1024
_TURN_SOCKETS: Final = 16  # read before other tasks get their turn, 4 ms when all are flooded; the rest comes next
_REST_S: Final = 0.0005
"""Measured with 100 streams of 20 ms: for each packet 30 % less CPU time, and 0.3 ms more until it is read. With a rest
of 1 ms it would be 45 % less, and 0.7 ms more.
"""


class TcpStream(trio.abc.Stream):
    """`trio.SocketStream` that can be read without waiting."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._fd = stream.socket.fileno()

    def fileno(self) -> int:
        """The descriptor, -1 once the stream is closed."""
        return self._fd

    def receive_nowait(self, max_bytes: int = NOWAIT_BYTES) -> bytes:
        """Return what has come, b"" at the end.

        Raises:
            WouldBlock: nothing has come, or nothing whole.
            BrokenResourceError: the connection broke.
        """
        try:
            return os.read(self._fd, max_bytes)  # no slower than into a buffer shared by all
        except BlockingIOError:
            raise trio.WouldBlock from None
        except OSError as exc:
            raise trio.BrokenResourceError(f"socket connection broken: {exc}") from exc

    def take_nowait(self, packets: "Reader") -> bytes | None:
        """As `receive_nowait`, but without the packets that come first. None: nothing was left."""
        try:
            return packets.read(self._fd)
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

    def close(self) -> None:
        """Close at once, as `aclose` does: there is nothing to wait for."""
        self._fd = -1  # the number may be another socket's from now on
        self._stream.socket.close()

    async def aclose(self) -> None:
        self.close()
        await trio.lowlevel.checkpoint()


class Progress(enum.Enum):
    """The result of a call of an `OnReadable`."""

    DRAINED = enum.auto()  # all that had come was read
    MORE = enum.auto()  # there may be more already
    ENOUGH = enum.auto()  # not to be called again: `SocketSet.wait` returns


# For each packet: looking up a member in its class takes 0.5 µs when another packet was long ago and caches are cold.
DRAINED: Final = Progress.DRAINED
MORE: Final = Progress.MORE


OnReadable = Callable[[], Progress]
"""Reads once. What it raises is raised by `SocketSet.wait`."""


@attrs.frozen
class _Waiting:
    task: trio.lowlevel.Task
    on_readable: OnReadable
    run: Callable[[OnReadable], Progress]  # in the task's context


class SocketSet:
    """The sockets that one task waits for. Level-triggered: what a call leaves unread is reported again.

    Attributes:
        longest_rest_s: asked before each rest how long it may be from the beginning of one turn to the next; 0: only
            as short as `_REST_S`. Who makes it 0 calls `wake`.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._waiting: dict[int, _Waiting] = {}
        self.longest_rest_s: Callable[[], float] = lambda: 0.0
        self._rest = trio.CancelScope()
        self._is_flooded = False  # a socket has brought much, or wanted something, since the last rest

    async def wait(self, fd: int, on_readable: OnReadable) -> None:
        """Have `on_readable` called, in the context of this task, each time `fd` is readable, until it has ENOUGH.

        Raises:
            Exception: what `on_readable` raised; ClosedResourceError from `closing`.
        """
        task = trio.lowlevel.current_task()
        self._waiting[fd] = _Waiting(task, on_readable, task.context.run)
        self._epoll.register(fd, select.EPOLLIN)

        def abort(_: object) -> trio.lowlevel.Abort:
            self._forget(fd)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def wake(self) -> None:
        """End a long rest at once: somebody listens now. A stop needs none: each reader takes what has arrived."""
        self._rest.cancel()

    def closing(self, fd: int) -> None:
        """Wake the task that waits for `fd`, which is about to be closed, with ClosedResourceError."""
        if fd in self._waiting:
            self._wake(fd, outcome.Error(trio.ClosedResourceError("another task closed this stream")))

    async def run(self) -> None:
        """Wait, and call the readers, for ever.

        Packets that arrive close together are read together: a wake-up costs as much as reading two of them. So after
        a busy turn there is a short rest, unless a socket has more to read; and where nobody listens, after every turn
        a long one, unless that would slow down a sender who fills the socket's buffer.
        """
        with contextlib.closing(Timer()) as timer:
            await self._take_turns(timer)

    async def _take_turns(self, timer: Timer) -> None:
        began_s = -math.inf
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            now_s = trio.current_time()
            is_busy = now_s - began_s < _REST_S
            began_s = now_s
            self._is_flooded = False
            while (progress := self._turn()) is not None:
                if progress is MORE:
                    await trio.lowlevel.checkpoint()
                elif not self._is_flooded and (rest_s := self.longest_rest_s()):
                    with trio.CancelScope(deadline=began_s + rest_s) as self._rest:
                        await trio.sleep_forever()
                    began_s = trio.current_time()
                elif is_busy:
                    await timer.rest(_REST_S)
                    self._is_flooded = False
                else:
                    break

    def _turn(self) -> Progress | None:
        """Call the readers of readable sockets. None: there are none."""
        ready = self._epoll.poll(0, _TURN_SOCKETS)
        if not ready:
            return None
        result: Progress = DRAINED if len(ready) < _TURN_SOCKETS else MORE
        for fd, _ in ready:
            waiting = self._waiting.get(fd)
            if waiting is None:  # closed within this turn
                continue
            try:
                progress = waiting.run(waiting.on_readable)
            except Exception as exc:  # a bug in a reader ends its connection, not this task
                self._wake(fd, outcome.Error(exc))
                continue
            if progress is DRAINED:
                continue
            self._is_flooded = True
            if progress is MORE:
                result = progress
            else:
                self._wake(fd, outcome.Value(None))
        return result

    def _wake(self, fd: int, result: outcome.Outcome[None]) -> None:
        if fd in self._waiting:  # else its own call cancelled it
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
