"""The server of one door: accepts connections, gives each its place, and closes them all at the end."""

import errno
import os
import socket
from collections.abc import Hashable, Sequence
from contextlib import suppress
from typing import Final, NoReturn, Self

import structlog
import trio

from rtmsd.http.connection import Connection
from rtmsd.http.messages import Door, Peer
from rtmsd.http.places import Places
from rtmsd.http.reserve import Reserve
from rtmsd.system.throttle import Throttle

log = structlog.get_logger()

NO_DESCRIPTOR: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
LOOK_AGAIN_S: Final = 0.1  # for a place, or a descriptor
LOG_EVERY_S: Final = 10.0
IN_A_PASS: Final = 3  # connections accepted, and requests taken up, in a pass of the event loop; see the package


async def serve(
    door: Door,
    listeners: Sequence[trio.SocketListener],
    *,
    stopping: trio.Event | None = None,
    grace_s: float = 0.0,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled, or until `stopping` and then begun requests for `grace_s`. Closes the listeners.

    Started when the listeners accept.
    """
    server = _Server(door)
    try:
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                for listener in listeners:
                    accepting.start_soon(server.accept_from, listener, connections)
                task_status.started()
                await (trio.Event() if stopping is None else stopping).wait()
                accepting.cancel_scope.cancel()
            _close(listeners)
            server.finish()
            connections.cancel_scope.deadline = trio.current_time() + grace_s
    finally:
        _close(listeners)
        server.reserve.close()


def _close(listeners: Sequence[trio.SocketListener]) -> None:
    for listener in listeners:
        listener.socket.close()


class _Acceptor:
    """Takes connections off a listener, several in one pass: each waits for many passes, long ones under load."""

    def __init__(self, listener: trio.SocketListener) -> None:
        self._listener = listener
        self._left = 0
        self._socket = socket.socket(fileno=os.dup(listener.socket.fileno()))
        self._socket.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    async def accept(self) -> trio.SocketStream:
        """Raises OSError as Trio's listener does."""
        if self._left:
            self._left -= 1
            with suppress(OSError):  # none has come, or Trio knows what to do
                return trio.SocketStream(trio.socket.from_stdlib_socket(self._socket.accept()[0]))
        stream = await self._listener.accept()
        self._left = IN_A_PASS - 1
        return stream


class _Server:
    """The state that connections at one door share."""

    def __init__(self, door: Door) -> None:
        self.reserve = Reserve()
        self._door = door
        self._shares: dict[Hashable, Places] = {}
        self._turnstile = trio.Semaphore(IN_A_PASS)
        self._left = trio.lowlevel.ParkingLot()
        self._out_of_descriptors = Throttle(LOG_EVERY_S)
        self._full = Throttle(LOG_EVERY_S)

    async def accept_from(self, listener: trio.SocketListener, connections: trio.Nursery) -> None:
        with _Acceptor(listener) as acceptor:
            await self._accept_all(acceptor, connections)

    async def _accept_all(self, acceptor: "_Acceptor", connections: trio.Nursery) -> NoReturn:
        while True:
            stream, is_last = await self._accept(acceptor)
            try:
                peer = self._door.welcome(stream)
            except OSError:  # disconnected already
                await stream.aclose()
                continue
            places = self._shares.setdefault(peer.share, Places(self._door.limits.connections))
            connection = Connection(
                stream,
                self._door.limits,
                note=places.note,
                turnstile=self._turnstile,
                is_last=is_last,
                server=self._door.server,
            )
            if await self._find_place(places, stream):
                places.note(connection)
                connections.start_soon(self._serve, connection, stream, peer, places)
            else:
                connections.start_soon(self._send_away, connection)

    def finish(self) -> None:
        for places in self._shares.values():
            places.finish()

    async def _accept(self, acceptor: "_Acceptor") -> tuple[trio.SocketStream, bool]:
        """Return a connection, and whether it is closed after one answer: it was accepted on a spare descriptor."""
        is_last = False
        while True:
            try:
                return await acceptor.accept(), is_last
            except OSError as exc:
                if exc.errno not in NO_DESCRIPTOR:
                    raise
                more = self._out_of_descriptors.admit()
                if more is not None:
                    log.error(  # noqa: TRY400 foreseen
                        "no file descriptor left for a connection; raise LimitNOFILE= (ulimit -n)",
                        door=self._door.name,
                        error=exc.strerror,
                        more_since_last=more,
                    )
            for places in self._shares.values():
                places.close_idle()
            is_last = self.reserve.release()
            if not is_last:
                await trio.sleep(LOOK_AGAIN_S)

    async def _find_place(self, places: Places, stream: trio.SocketStream) -> bool:
        """Wait for a place, if the door lets peers wait; False: there is none."""
        try:
            while not places.make_room():
                if self._full.admit() is not None:
                    log.warning("all connections of one client are busy", door=self._door.name)
                if self._door.when_full is not None:
                    return False
                with trio.move_on_after(LOOK_AGAIN_S):
                    await self._left.park()
        except trio.Cancelled:
            await trio.aclose_forcefully(stream)
            raise
        return True

    async def _serve(self, connection: Connection, stream: trio.SocketStream, peer: Peer, places: Places) -> None:
        """Serve one client. No failure ends more than its connection."""
        try:
            await connection.serve(peer)
        except Exception:
            log.exception(f"{self._door.name} connection crashed")
        finally:
            stream.socket.close()  # at once and whatever happened: others may wait for the descriptor
            places.remove(connection)
            if not places:
                self._shares.pop(peer.share, None)
            self.reserve.refill()
            self._left.unpark_all()

    async def _send_away(self, connection: Connection) -> None:
        assert self._door.when_full is not None
        try:
            await connection.send_away(self._door.when_full)
        except Exception:
            log.exception(f"{self._door.name} connection crashed")
