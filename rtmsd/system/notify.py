"""The protocol of the service manager: sd_notify over a datagram socket, and the sockets that it passes.

Without a service manager every call does nothing. Source: sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3).
"""

import os
import socket
import time
from collections.abc import Mapping
from typing import Final

FIRST_FD: Final = 3  # SD_LISTEN_FDS_START
UNNAMED: Final = "unknown"  # what systemd calls a socket without FileDescriptorName=
SEND_TIMEOUT_S: Final = 0.5  # only a manager whose queue is full makes us wait at all


class Notifier:
    """Reports to the service manager. A message that cannot be delivered is lost, never an error.

    Attributes:
        watchdog_interval_s: how often to call `watchdog`, half of the limit; None: never.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # "@" stands for the NUL of an abstract socket; anything but these two is not a Unix socket
        self._address = f"\0{address[1:]}" if address.startswith("@") else address if address.startswith("/") else None
        self.watchdog_interval_s = _watchdog_interval_s(environ)

    def ready(self, status: str = "") -> bool:
        """Start-up, or a reload, is done. Returns whether the manager received it."""
        return self._send("READY=1", *_status(status))

    def reloading(self) -> bool:
        """A reload begins; `ready` ends it."""
        # Type=notify-reload demands the time; Type=notify ignores it.
        return self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, status: str = "") -> bool:
        """The shutdown begins."""
        return self._send("STOPPING=1", *_status(status))

    def status(self, text: str) -> bool:
        """Set the line of `systemctl status`."""
        return self._send(*_status(text))

    def extend_timeout(self, seconds: float) -> bool:
        """Extend the timeout of the start, reload or stop, from now."""
        return self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}")

    def watchdog(self) -> bool:
        """Feed the watchdog."""
        return self._send("WATCHDOG=1")

    def _send(self, *fields: str) -> bool:
        if self._address is None or not fields:
            return False
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.settimeout(SEND_TIMEOUT_S)
            try:
                sock.sendto("\n".join(fields).encode(), self._address)
            except OSError:
                return False
        return True


def listen_fds(environ: Mapping[str, str] = os.environ, pid: int | None = None) -> dict[str, list[int]]:
    """Return the sockets that the service manager passed to this process, by name.

    They are made close-on-exec; the environment is left as it is, so a second call returns the same.

    Args:
        pid: of this process, to recognize sockets for a parent.
    """
    try:
        meant_for, count = int(environ["LISTEN_PID"]), int(environ["LISTEN_FDS"])
    except (KeyError, ValueError):
        return {}
    if meant_for != (os.getpid() if pid is None else pid):
        return {}
    given = environ.get("LISTEN_FDNAMES", "").split(":")
    names = given if len(given) == count else [UNNAMED] * count
    found: dict[str, list[int]] = {}
    for fd, name in enumerate(names, FIRST_FD):
        os.set_inheritable(fd, False)
        found.setdefault(name, []).append(fd)
    return found


def _status(text: str) -> tuple[str, ...]:
    return (f"STATUS={' '.join(text.split())}",) if text else ()


def _watchdog_interval_s(environ: Mapping[str, str]) -> float | None:
    try:
        limit_us = int(environ["WATCHDOG_USEC"])
        meant_for = int(environ.get("WATCHDOG_PID") or os.getpid())
    except (KeyError, ValueError):
        return None
    return limit_us / 2_000_000 if limit_us > 0 and meant_for == os.getpid() else None
