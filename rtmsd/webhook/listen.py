"""The sockets that `webhook.listen` names, or those that systemd opened."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import trio

from rtmsd.http.listening import inherited, open_tcp, open_unix

KEY: Final = "webhook.listen"
BACKLOG: Final = 4096  # the system cuts it to net.core.somaxconn
UNIX: Final = "unix:"
UNIX_MODE: Final = 0o666  # every local user may connect, as to a port on loopback


async def open_listeners(listen: str, fds: Sequence[int] = ()) -> list[trio.SocketListener]:
    """Open what to listen on.

    Args:
        listen: "host:port", "[address]:port" or "unix:/path".
        fds: listening sockets inherited from the service manager, which replace `listen`.

    Raises:
        AlreadyRunningError, ListenError: as `rtmsd.http.listening`.
    """
    if fds:
        return [inherited(KEY, fd) for fd in fds]
    if listen.startswith(UNIX):
        return [open_unix(KEY, Path(listen.removeprefix(UNIX)), mode=UNIX_MODE, backlog=BACKLOG)]
    return await open_tcp(KEY, listen, BACKLOG)
