"""Three servers with the configuration in systemd/, and members with the permissions that it gives."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import attrs
import pytest
import trustme

from rtmsd.cluster.engine import Away
from rtmsd.cluster.engines.nats.engine import NatsEngine
from rtmsd.cluster.engines.nats.layout import Layout
from rtmsd.cluster.engines.nats.settings import NatsSettings
from rtmsd.config import ClusterConfig
from rtmsd.demo.cluster.ports import reserved_ports
from rtmsd.demo.cluster.servers import Server, Servers, find_program
from tests.cluster.contract import new_id
from tests.cluster.nats.conftest import reach
from tests.cluster.nats.work import LIMIT_S, holds, pong, until_answered, use_all

SHIPPED: Final = Path(__file__).parents[3] / "systemd" / "nats-server.conf"
NAME: Final = "n{}.example.com"
HOST: Final = "localhost"
"""The name in the certificate, which has no address."""
PASSWORDS: Final = {"a": "password-of-a", "b": "password-of-b", "c": "password-of-c", "admin": "password-of-admin"}


@attrs.define(eq=False)
class ShippedServer(Server):
    """A server as its users set it up, in other places."""

    @property
    def url(self) -> str:
        return f"tls://{HOST}:{self.ports[0]}"

    def start(self) -> None:
        file = self.directory / f"{self.name}.conf"
        file.write_text(self._configuration())
        passwords = {f"PASSWORD_{user.upper()}": password for user, password in PASSWORDS.items()}
        own = {"SERVER_NAME": self.name, "HOST": HOST, "JETSTREAM_KEY": f"key-of-{self.name}"}
        self.process = subprocess.Popen(
            [find_program(), "-c", str(file)], env=os.environ | passwords | own, stderr=subprocess.DEVNULL
        )

    def _configuration(self) -> str:
        client, cluster, monitor = self.ports
        names = [NAME.format(number + 1) for number in range(len(self.routes))]
        others = {f"{name}:6222": address for name, address in zip(names, self.routes, strict=True)}
        elsewhere = {
            "0.0.0.0:4222": f"127.0.0.1:{client}",
            "0.0.0.0:6222": f"127.0.0.1:{cluster}",
            "127.0.0.1:8222": f"127.0.0.1:{monitor}",
            "/etc/nats/": f"{self.directory}/",
            "/var/lib/nats": f"{self.directory / self.name}",
            "100GB": "512MB",  # as much is not to be reserved where tests run
            **others,
        }
        text = SHIPPED.read_text()
        for shipped, here in elsewhere.items():
            assert shipped in text
            text = text.replace(shipped, here)
        return f'{text}\nlog_file: "{self.directory / self.name}.log"'


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Has the files of certificates."""
    directory = tmp_path_factory.mktemp("shipped")
    ca = trustme.CA()
    certificate = ca.issue_cert(HOST)
    ca.cert_pem.write_to_path(directory / "ca.pem")
    certificate.private_key_pem.write_to_path(directory / "server.key")
    for pem in certificate.cert_chain_pems:
        pem.write_to_path(directory / "server.pem", append=True)
    return directory


@pytest.fixture(scope="module")
def shipped(directory: Path) -> Iterator[Servers]:
    with reserved_ports(9) as ports:
        own = enumerate(zip(ports[::3], ports[1::3], ports[2::3], strict=True), 1)
        routes = [f"{HOST}:{port}" for port in ports[1::3]]
        servers = Servers([ShippedServer(n, directory, three, routes) for n, three in own])
        try:
            servers.start()
            servers.wait()
            yield servers
        finally:
            servers.kill()


def settings(servers: Servers, directory: Path, node: str, *, user: str) -> NatsSettings:
    config = ClusterConfig(
        node=node,
        servers=servers.urls,
        user=user,
        password=PASSWORDS[user],
        ca_file=directory / "ca.pem",
        partitions=1,
    )
    return attrs.evolve(NatsSettings.of(config, node), answer_s=LIMIT_S)


async def test_members_can_do_what_they_have_to(shipped: Servers, directory: Path) -> None:
    async with NatsEngine.open(settings(shipped, directory, "a", user="a")) as engine:
        await use_all(engine)
        async with NatsEngine.open(settings(shipped, directory, "b.2", user="b")) as other:
            other.bus.serve("ping", pong)
            await reach(engine, "b.2")
            await reach(other, "a")
            assert (engine.trouble, engine.denied, other.trouble, other.denied) == (None, (), None, ())


async def test_nobody_hears_the_answers_to_another_member(shipped: Servers, directory: Path) -> None:
    """The inbox of a member is that of its user."""
    another = attrs.evolve(settings(shipped, directory, "a", user="b"), answer_s=0.5)
    async with NatsEngine.open(another, start_s=0) as engine:
        await holds(lambda: any("subscribe to _inbox_rtms.a." in words for words in engine.denied))
        with pytest.raises(Away):
            await engine.owners.read(new_id())


async def test_a_server_names_the_others(shipped: Servers, directory: Path) -> None:
    """By names that stand in their certificates."""
    first, others = shipped.each[0], shipped.urls[1:]
    known = attrs.evolve(settings(shipped, directory, "c", user="c"), servers=(first.url,))
    async with NatsEngine.open(known) as engine:
        first.kill()
        try:
            await holds(lambda: engine.server is not None and f"tls://{engine.server.address}" in others)
            await until_answered(partial(engine.owners.read, new_id()))
        finally:
            shipped.start()
            shipped.wait()


def test_the_file_gives_the_permissions_that_we_name() -> None:
    text = re.sub(r"#.*", "", SHIPPED.read_text())
    publish, subscribe = Layout("rtms", 1).permissions("a")
    listed = re.search(r"MEMBER_PUBLISHES: \[(.*?)\]", text, re.DOTALL)
    assert listed is not None
    assert re.findall(r'"(.*?)"', listed[1]) == [*publish]
    assert f"subscribe: {json.dumps(subscribe)}" in text


async def test_what_is_on_disk_cannot_be_read(shipped: Servers, directory: Path) -> None:
    async with NatsEngine.open(settings(shipped, directory, "a", user="a")) as engine:
        await use_all(engine)
    kept = _blocks(directory)
    assert kept
    assert b"incarnation" not in kept


def _blocks(directory: Path) -> bytes:
    return b"".join(file.read_bytes() for file in directory.glob("s?/jetstream/**/*.blk"))
