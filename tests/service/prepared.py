"""Processes without the time for imports: one that has imported rtmsd forks them.

Imports are nearly all of what a start takes, and these tests start a hundred daemons and ask them as often. What is
forked does as `python -m MODULE` does, in a process of its own: with its own files, environment, signals and end.
"""

import atexit
import fcntl
import functools
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

ROOT: Final = Path(__file__).parents[2]
PYTHON_MODULE: Final = (sys.executable, "-m")

_NUMBER: Final = struct.Struct("<i")
_ORDER_BYTES: Final = 1 << 17  # arguments and environment
_MOST_FDS: Final = 8
_HIGH: Final = 64  # no file descriptor of the process that forks is above


class Process:
    """A running command: the part of `subprocess.Popen` that tests need. `fileno` is readable once it has ended.

    Args:
        command: begins with `PYTHON_MODULE`, or is started as a shell does, imports and all.
        environment: all of it.
        stdout, stderr: file descriptors; the standard input is empty.
        sockets: passed as systemd does, if the environment says how many.
        is_cold: start it as a shell does, whatever the command.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        stdout: int,
        stderr: int,
        sockets: Sequence[int] = (),
        is_cold: bool = False,
    ) -> None:
        self.returncode: int | None = None
        is_cold = is_cold or tuple(command[:2]) != PYTHON_MODULE
        order = {"command": list(command), "environment": dict(environment), "is_cold": is_cold}
        self._answers, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(_forker(), [json.dumps(order).encode()], [theirs.fileno(), stdout, stderr, *sockets])
        self.pid = self._next_number()

    def fileno(self) -> int:
        return self._answers.fileno()

    def poll(self) -> int | None:
        """Return the exit status, as `subprocess.Popen` counts it, or None while it runs."""
        if self.returncode is None and select.select([self._answers], [], [], 0)[0]:
            return self.wait()
        return self.returncode

    def wait(self, timeout_s: float | None = None) -> int:
        """Wait for the end, and return the exit status.

        Raises:
            TimeoutError: it is not over after so long.
        """
        if self.returncode is None:
            self._answers.settimeout(timeout_s)
            self.returncode = self._next_number()
            self._answers.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _next_number(self) -> int:
        number: int
        (number,) = _NUMBER.unpack(self._answers.recv(_NUMBER.size, socket.MSG_WAITALL))
        return number


@functools.cache
def _forker() -> socket.socket:
    """Start the process that forks; return its command socket. It exits when that is closed."""
    orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        command = [*PYTHON_MODULE, __name__, str(theirs.fileno())]
        process = subprocess.Popen(command, pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, cwd=ROOT)

    def end() -> None:
        orders.close()
        process.wait()

    atexit.register(end)
    return orders


# In the process that forks


def serve(orders: socket.socket) -> None:
    """Carry out commands until the socket is closed."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # keepers need no burial
    while True:
        order, fds, _, _ = socket.recv_fds(orders, _ORDER_BYTES, _MOST_FDS)
        if not order:
            return
        if os.fork() == 0:
            orders.close()
            _keep(json.loads(order), socket.socket(fileno=fds[0]), fds[1:])
        for fd in fds:
            os.close(fd)


def _keep(order: dict[str, Any], answers: socket.socket, files: Sequence[int]) -> NoReturn:
    """Start the process, report its number, and report its status at its end, which only a parent can."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        answers.close()
        _become(files=files, **order)
    for fd in files:
        os.close(fd)
    answers.sendall(_NUMBER.pack(pid))
    _, status = os.waitpid(pid, 0)
    answers.sendall(_NUMBER.pack(os.waitstatus_to_exitcode(status)))
    os._exit(0)


def _become(command: list[str], environment: dict[str, str], *, is_cold: bool, files: Sequence[int]) -> NoReturn:
    """Become that command, with stdout, stderr, and then sockets where sd_listen_fds(3) expects them."""
    null = os.open(os.devnull, os.O_RDONLY)
    for place, fd in enumerate([fcntl.fcntl(fd, fcntl.F_DUPFD, _HIGH) for fd in (null, *files)]):
        os.dup2(fd, place)
    os.closerange(1 + len(files), 2 * _HIGH)
    os.environ.clear()
    os.environ.update(environment)
    if len(files) > 2:
        os.environ["LISTEN_PID"] = str(os.getpid())
    if is_cold:
        os.execvp(command[0], command)
    sys.argv[1:] = command[3:]
    runpy.run_module(command[2], run_name="__main__", alter_sys=True)
    sys.exit()


if __name__ == "__main__":
    import rtmsd.cli
    import rtmsd.ctl.main
    import rtmsd.ctl.verbs
    import rtmsd.daemon.root

    for module in pkgutil.iter_modules(rtmsd.ctl.verbs.__path__, "rtmsd.ctl.verbs."):
        importlib.import_module(module.name)
    gc.freeze()  # or whoever is forked goes through all of it, and so copies it, at its end
    serve(socket.socket(fileno=int(sys.argv[1])))
