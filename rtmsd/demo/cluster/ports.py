"""Ports of one's own for servers that cannot be handed a socket, also while they are down."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from rtmsd.demo.stage import HOST


@contextmanager
def reserved_ports(count: int) -> Iterator[list[int]]:
    """Yield free ports that the system gives to nobody else until the block ends.

    A socket that is bound and does not listen keeps each: Linux lets a server with SO_REUSEADDR bind it as well, gives
    it to nobody who leaves the choice to the system, and refuses connections while no server listens.
    """
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for reserved in sockets:
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            reserved.bind((HOST, 0))
        yield [int(reserved.getsockname()[1]) for reserved in sockets]
