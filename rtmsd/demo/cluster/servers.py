"""Real NATS servers on this machine: one, or three that are a cluster."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import attrs

from rtmsd.demo.cluster.ports import reserved_ports
from rtmsd.demo.stage import HOST
from rtmsd.errors import RtmsdError

START_S: Final = 60
ANSWER_S: Final = 5
POLL_S: Final = 0.05
PROGRAM: Final = "nats-server"
VARIABLE: Final = "RTMSD_NATS_SERVER"


class ServerError(RtmsdError):
    """There is no NATS server to start, or it does not come up."""


def find_program() -> str:
    """Return the server's program: `$RTMSD_NATS_SERVER`, or that on the path, or that beside the interpreter.

    Raises:
        ServerError: there is none.
    """
    beside = Path(sys.executable).parent
    if found := os.environ.get(VARIABLE) or shutil.which(PROGRAM) or shutil.which(PROGRAM, path=str(beside)):
        return found
    raise ServerError(f"no {PROGRAM} is installed: pip install 'rtmsd[demo]' has one, or name yours in ${VARIABLE}")


@attrs.define(eq=False)
class Server:
    """One server, which can be killed and started again on the same ports and files.

    Attributes:
        ports: for clients, other servers, and monitoring.
        routes: addresses of all servers for each other; none: it is alone.
        more: of its configuration: tls, authorization, ...
        host: where clients and monitoring find it.
        within: the command that runs the program, in a network of its own for instance.
    """

    number: int
    directory: Path
    ports: tuple[int, int, int]
    routes: Sequence[str]
    more: str = ""
    max_file: str = "512M"
    scheme: str = "nats"
    host: str = HOST
    within: Sequence[str] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}:{self.ports[0]}"

    @property
    def name(self) -> str:
        return f"s{self.number}"

    def start(self) -> None:
        client, _, monitor = self.ports
        routes = ", ".join(f'"nats://{address}"' for address in self.routes)
        lines = [
            'ping_interval: "2s", ping_max: 2',
            f'server_name: {self.name}, listen: "{self.host}:{client}", http: "{self.host}:{monitor}"',
            f'jetstream {{ store_dir: "{self.directory / self.name}", max_mem: 64M, max_file: {self.max_file} }}',
            f'log_file: "{self.directory / self.name}.log"',
            f'cluster {{ name: c, listen: "{self.routes[self.number - 1]}", routes: [{routes}] }}' if routes else "",
            self.more,
        ]
        file = self.directory / f"{self.name}.conf"
        file.write_text("\n".join(lines))
        program = find_program()
        try:
            with (self.directory / f"{self.name}.log").open("ab") as log:  # of what it says before it has a log
                self.process = subprocess.Popen(
                    [*self.within, program, "-c", str(file)],
                    stderr=log,
                    start_new_session=True,  # Ctrl-C is for whoever started it
                )
        except OSError as error:
            whose = f", which is in ${VARIABLE}," if VARIABLE in os.environ else ""
            raise ServerError(f"{program}{whose} cannot be started: {error.strerror}") from error

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def freeze(self) -> None:
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def ask(self, what: str) -> dict[str, Any]:
        """Return a page of the monitoring port.

        Raises:
            OSError: no answer, or an error.
        """
        with urllib.request.urlopen(f"http://{self.host}:{self.ports[2]}/{what}", timeout=ANSWER_S) as answer:
            page: dict[str, Any] = json.load(answer)
        return page

    def is_healthy(self) -> bool:
        """Whether it can be used: its JetStream has a leader, and is up to date."""
        try:
            return self.ask("healthz").get("status") == "ok"
        except OSError:
            return False

    def has_died(self) -> bool:
        return self.process is None or self.process.poll() is not None


@attrs.frozen(eq=False)
class Servers:
    """All of them."""

    each: Sequence[Server]

    @property
    def urls(self) -> tuple[str, ...]:
        return tuple(server.url for server in self.each)

    def start(self) -> None:
        """Start those that do not run."""
        for server in self.each:
            if server.process is None:
                server.start()

    def wait(self) -> None:
        """Wait until all can be used.

        Raises:
            ServerError: one has died, or they are not ready in time.
        """
        deadline = time.monotonic() + START_S
        while not all(server.is_healthy() for server in self.each):
            if dead := [server.name for server in self.each if server.has_died()]:
                raise ServerError(f"NATS server {dead[0]} has died: see its log in {self.each[0].directory}")
            if time.monotonic() > deadline:
                raise ServerError(f"the NATS servers do not come up: see their logs in {self.each[0].directory}")
            time.sleep(POLL_S)

    def kill(self) -> None:
        for server in self.each:
            server.kill()

    def leader(self, stream: str) -> Server:
        """Return the server that leads a stream of JetStream.

        Raises:
            LookupError: there is no such stream, or it has no leader.
        """
        for account in self.each[0].ask("jsz?streams=true")["account_details"]:
            for detail in account["stream_detail"]:
                if detail["name"] == stream:
                    name = detail["cluster"]["leader"]
                    if leading := [server for server in self.each if server.name == name]:
                        return leading[0]
        raise LookupError(stream)


@contextmanager
def prepared(
    directory: Path, count: int = 1, *, more: str = "", max_file: str = "512M", scheme: str = "nats"
) -> Iterator[Servers]:
    """Yield servers that are not started yet; at the exit they are killed.

    Args:
        directory: for their files, which stay.
        more, max_file, scheme: see `Server`.
    """
    with reserved_ports(3 * count) as ports:
        routes = [f"{HOST}:{port}" for port in ports[1::3]] if count > 1 else []
        own = zip(ports[::3], ports[1::3], ports[2::3], strict=True)
        servers = Servers([Server(n, directory, each, routes, more, max_file, scheme) for n, each in enumerate(own, 1)])
        try:
            yield servers
        finally:
            servers.kill()


@contextmanager
def running(directory: Path, count: int = 1, **settings: str) -> Iterator[Servers]:
    """Run servers for as long as the block lasts. See `prepared`.

    Raises:
        ServerError: they do not come up.
    """
    with prepared(directory, count, **settings) as servers:
        servers.start()
        servers.wait()
        yield servers
