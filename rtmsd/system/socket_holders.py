"""The holder of a listening address or Unix socket, as far as this user sees it in /proc."""

import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

_LISTENING: Final = "0A"  # of /proc/net/tcp
_ACCEPTS: Final = 0x10000  # of /proc/net/unix: __SO_ACCEPTCON
_ANY: Final = frozenset({"0.0.0.0", "::"})


class Holder(NamedTuple):
    """The process that has a socket open. `pid` is None when it is another user's."""

    pid: int | None
    command: str = ""

    def __str__(self) -> str:
        return "another process" if self.pid is None else f"{self.command} (process {self.pid})"

    @property
    def is_rtmsd(self) -> bool:
        """Whether it is a daemon, or systemd, which listens for one."""
        if self.pid in (None, 1):
            return self.pid == 1
        try:
            return b"rtmsd" in Path(f"/proc/{self.pid}/cmdline").read_bytes()
        except OSError:
            return False


def holder_of_address(listen: str) -> Holder | None:
    """Return the listener on "host:port"; None without one."""
    host, _, port = listen.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return None
    wanted = {str(address[4][0]) for address in found}
    for address, its_port, inode in _tcp_listeners():
        if its_port == int(port) and (address in wanted | _ANY or wanted & _ANY):
            return _holder(inode)
    return None


def holder_of_socket(path: Path) -> Holder | None:
    """Return the listener on a Unix socket; None without one. No connection is made: that may start a service."""
    for line in _lines("/proc/net/unix"):
        fields = line.split(None, 7)
        if len(fields) == 8 and fields[7] == str(path) and int(fields[3], 16) & _ACCEPTS:
            return _holder(fields[6])
    return None


def _tcp_listeners() -> Iterator[tuple[str, int, str]]:
    """Yield address, port and inode of every listening TCP socket."""
    for name, family in (("/proc/net/tcp", socket.AF_INET), ("/proc/net/tcp6", socket.AF_INET6)):
        for line in _lines(name):
            fields = line.split()
            if fields[3] == _LISTENING:
                address, _, port = fields[1].partition(":")
                words = [int(address[at : at + 8], 16) for at in range(0, len(address), 8)]
                yield socket.inet_ntop(family, struct.pack(f"={len(words)}I", *words)), int(port, 16), fields[9]


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(errors="surrogateescape").splitlines()[1:]
    except OSError:
        return []


def _holder(inode: str) -> Holder:
    wanted = f"socket:[{inode}]"
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(fd.readlink()) == wanted for fd in (process / "fd").iterdir()):
                return Holder(int(process.name), (process / "comm").read_text(errors="replace").strip())
        except OSError:  # of another user, or gone
            continue
    return Holder(None)
