"""The real daemon as a process of its own, and a client of its admin socket."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import httpx
import trio

from rtmsd.errors import RtmsdError

START_S: Final = 60.0  # limit for a start, and for a stop
END_S: Final = 2.0  # for what must end now
POLL_S: Final = 0.03
ANSWER_S: Final = 5.0

# As systemd does with a socket unit: the listening socket becomes file descriptor 3, meant for this process. The
# address stays while no daemon runs, and a webhook posted then waits in the kernel.
_PASS_SOCKET: Final = """\
import os, sys
fd, command = int(sys.argv[1]), sys.argv[2:]
os.dup2(fd, 3) if fd != 3 else os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="webhook")
os.execv(command[0], command)
"""


class DaemonError(RtmsdError):
    """The daemon did not start, stop or answer as it should; its log says why."""


class Admin:
    """A client of the daemon's admin socket."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def get(self, path: str) -> Any:
        """Return a JSON answer.

        Raises:
            httpx.HTTPError: no answer, or an error.
        """
        answer = (await self._client.get(path, timeout=ANSWER_S)).raise_for_status()
        return answer.json()

    async def post(self, path: str) -> Any:
        """Have something done, and return the JSON answer; raises as `get`."""
        answer = (await self._client.post(path, timeout=ANSWER_S)).raise_for_status()
        return answer.json()

    async def lines(self, path: str) -> AsyncIterator[dict[str, Any]]:
        """Yield the objects of an NDJSON answer as they come. Close it; raises as `get`."""
        async with self._client.stream("GET", path, timeout=None) as answer:
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                yield json.loads(line)


@asynccontextmanager
async def open_admin(path: Path) -> AsyncIterator[Admin]:
    transport = httpx.AsyncHTTPTransport(uds=str(path))
    async with httpx.AsyncClient(transport=transport, base_url="http://rtmsd", trust_env=False) as client:
        yield Admin(client)


class DaemonProcess:
    """`rtmsd run` with a configuration file; started, killed and started again.

    Args:
        webhook: a listening socket that it inherits; None: it listens by itself.
        log_path: where its log goes.
        workers: how many processes of streams it has by its configuration; 1: it is one itself.
        environment: in addition to that of the demo.
    """

    def __init__(
        self,
        config: Path,
        log_path: Path,
        admin: Admin,
        webhook: socket.socket | None = None,
        *,
        workers: int = 1,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._log_path = log_path
        self._admin = admin
        self._inherited = () if webhook is None else (webhook.fileno(),)
        self._workers = workers
        self._environment = {**os.environ, "PYTHONUNBUFFERED": "1", **environment}
        run = [sys.executable, "-m", "rtmsd", "run", "--config", str(config)]
        passing = [sys.executable, "-c", _PASS_SOCKET, *map(str, self._inherited)]
        self._command = [*passing, *run] if self._inherited else run
        self._process: trio.Process | None = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Start it and return when it is ready.

        Raises:
            DaemonError: it ended, or was not ready in time.
        """
        with self._log_path.open("ab") as log:
            process = self._process = await trio.lowlevel.open_process(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=self._inherited,
                start_new_session=True,  # Ctrl-C is for the demo, which stops the daemon itself
                env=self._environment,
            )
        with trio.move_on_after(START_S):
            while process.poll() is None:
                try:
                    status = await self._admin.get("/v1/status")
                except httpx.HTTPError:  # not listening yet, or the socket of a killed one
                    status = {}
                if status.get("pid") == process.pid and self.is_ready(status):
                    return
                await trio.sleep(POLL_S)
            last = self._log_path.read_text(errors="replace").splitlines()[-1:]
            raise DaemonError("\n".join([f"the daemon ended with {process.returncode}, see {self._log_path}", *last]))
        raise DaemonError(f"the daemon was not ready after {START_S:g} s, see {self._log_path}")

    def is_ready(self, status: Mapping[str, Any]) -> bool:
        """Whether all its processes are, by its own status."""
        ready = [worker for worker in status.get("workers", ()) if worker.get("ready")]
        return status.get("ready") is True and (self._workers == 1 or len(ready) == self._workers)

    def send_signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def reload(self) -> None:
        """Have it read its configuration again, as systemd would."""
        self.send_signal(signal.SIGHUP)

    async def kill(self) -> None:
        """kill -9: no close frame, no flush, no `finally`."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> int:
        """Stop it as systemd would, and return its exit status.

        Raises:
            DaemonError: it does not stop in time.
        """
        assert self._process is not None
        self.send_signal(signal.SIGTERM)
        with trio.move_on_after(START_S):
            return await self._process.wait()
        raise DaemonError(f"the daemon did not stop within {START_S:g} s, see {self._log_path}")

    async def aclose(self) -> None:
        """End it in any state, and what it has started, within bounded time."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        with trio.CancelScope(shield=True), _children(process.pid) as children:
            for child in children:  # one that the demo has stopped could not end
                signal_process(child, signal.SIGCONT)
            process.terminate()
            with trio.move_on_after(END_S):
                await process.wait()
            if process.poll() is None:
                await self.kill()
            with trio.move_on_after(END_S):
                for child in children:
                    await trio.lowlevel.wait_readable(child)  # it has ended
            for child in children:
                signal_process(child, signal.SIGKILL)


def signal_process(pidfd: int, number: signal.Signals) -> None:
    """Send a signal to a process, if it still runs."""
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, number)


@contextmanager
def _children(pid: int) -> Iterator[list[int]]:
    """Yield the child processes of a process as pidfds, which name no other process when one has ended."""
    with ExitStack() as opened:
        pidfds = []
        for thread in Path(f"/proc/{pid}/task").glob("*/children"):  # those that this thread has started
            with suppress(OSError):
                for child in thread.read_text().split():
                    pidfds.append(os.pidfd_open(int(child)))
                    opened.callback(os.close, pidfds[-1])
        yield pidfds
