"""The peers of connections: their addresses, and the processes of this machine behind them.

The kernel's socket diagnostics (`sock_diag(7)`) name the inode of the socket at the other end, in 5 microseconds
however many sockets there are; the process is the one that has this inode among its files.
"""

import contextlib
import os
import socket
import struct
from collections import deque
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Final

import trio

from rtmsd.simulator.model.record import UNKNOWN, Peer

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLM_F_REQUEST: Final = 1
_HEADER: Final = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_WANTED: Final = struct.Struct("=BBxxI")  # of inet_diag_req_v2: family, protocol, states
_ADDRESSES: Final = struct.Struct(">HH16s16s")  # of inet_diag_sockid: source and destination
_ANY: Final = struct.pack("=III", 0, 0xFFFFFFFF, 0xFFFFFFFF)  # interface and cookie
_INODE_AT: Final = _HEADER.size + 68  # the last field of inet_diag_msg
_ALL_STATES: Final = 0xFFFFFFFF
_ANSWER_S: Final = 1.0
_REMEMBERED: Final = 64


class PeerFinder:
    """Names the peer of each connection.

    Args:
        name_processes: find the process, too. It takes about a millisecond; the first time of a process, a look at the
            files of all.
    """

    def __init__(self, *, name_processes: bool) -> None:
        self._name_processes = name_processes
        self._pids = deque[int](maxlen=_REMEMBERED)  # of processes found before, the last one first

    def peer_of(self, connection: trio.socket.SocketType) -> Peer:
        """Return the peer; `UNKNOWN` when it is gone already. `pid` stays None for one that cannot be looked at."""
        try:
            peer, own = connection.getpeername()[:2], connection.getsockname()[:2]
        except OSError:
            return UNKNOWN
        pid = None
        if self._name_processes:
            with contextlib.suppress(OSError):  # the system has no such diagnostics
                inode = _inode_of(connection.family, peer, own)
                pid = None if inode is None else self._holder_of(inode)
        host, port = peer
        return Peer(host, port, pid)

    def _holder_of(self, inode: int) -> int | None:
        for pid in chain(tuple(self._pids), _running()):
            if _has_socket(pid, inode):
                if pid in self._pids:
                    self._pids.remove(pid)
                self._pids.appendleft(pid)
                return pid
        return None


def _inode_of(family: int, source: tuple[str, int], destination: tuple[str, int]) -> int | None:
    """Return the inode of the TCP socket of this machine with these addresses, None without one.

    Raises:
        OSError: the kernel has no socket diagnostics, or does not answer.
    """
    packed = [socket.inet_pton(family, host.partition("%")[0]) for host, _ in (source, destination)]
    wanted = _WANTED.pack(family, socket.IPPROTO_TCP, _ALL_STATES)
    wanted += _ADDRESSES.pack(source[1], destination[1], *packed) + _ANY
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as diagnostics:
        diagnostics.settimeout(_ANSWER_S)
        header = _HEADER.pack(_HEADER.size + len(wanted), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 0, 0)
        diagnostics.send(header + wanted)
        answer = diagnostics.recv(4096)
    _, answer_type, *_ = _HEADER.unpack_from(answer)
    if answer_type != _SOCK_DIAG_BY_FAMILY:  # an error: no such socket
        return None
    [inode] = struct.unpack_from("=I", answer, _INODE_AT)
    return inode or None  # 0: it is closed, and belongs to nobody any more


def _running() -> Iterator[int]:
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            yield int(path.name)


def _has_socket(pid: int, inode: int) -> bool:
    name = f"socket:[{inode}]"
    files = f"/proc/{pid}/fd"
    with contextlib.suppress(OSError):  # it has ended, or is another user's
        numbers = map(int, os.listdir(files))  # noqa: PTH208 - there may be thousands, and paths as objects take longer
        for number in sorted(numbers, reverse=True):  # a new one has the highest number as a rule
            with contextlib.suppress(OSError):  # closed meanwhile
                if os.readlink(f"{files}/{number}") == name:  # noqa: PTH115 - as above
                    return True
    return False
