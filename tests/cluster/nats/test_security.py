"""TLS, credentials and permissions, with real servers and certificates."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import nkeys
import pytest
import trio
import trustme

from rtmsd.cluster.engine import Away
from rtmsd.cluster.engines.nats.engine import NatsEngine
from rtmsd.cluster.engines.nats.layout import Layout
from rtmsd.cluster.engines.nats.link import Denied
from rtmsd.cluster.engines.nats.settings import NatsSettings
from rtmsd.cluster.records import Beat
from rtmsd.demo.cluster.servers import Servers, running
from tests.cluster.contract import new_id, own
from tests.cluster.nats.fake import FakeServer
from tests.cluster.nats.work import LIMIT_S, holds, member, use_all

SMALL: Final[dict[str, Any]] = {"replicas": 1, "partitions": 1, "answer_s": LIMIT_S}
LAYOUT: Final = Layout("rtms", 1)
END_OF_TLS_S: Final = 30.0


@contextmanager
def tls_servers(directory: Path, more: str = "", *, host: str = "127.0.0.1") -> Iterator[tuple[Servers, trustme.CA]]:
    """Run a server with a certificate of an authority of its own."""
    ca = trustme.CA()
    certificate = ca.issue_cert(host)
    ca.cert_pem.write_to_path(str(directory / "ca.pem"))
    certificate.private_key_and_cert_chain_pem.write_to_path(str(directory / "server.pem"))
    files = f'cert_file: "{directory}/server.pem", key_file: "{directory}/server.pem", ca_file: "{directory}/ca.pem"'
    with running(directory, more=f"tls {{ {files}, {more} }}", scheme="tls") as servers:
        yield servers, ca


async def test_an_authority_of_ones_own(tmp_path: Path) -> None:
    with tls_servers(tmp_path) as (servers, _):
        settings = NatsSettings(node="a", servers=servers.urls, ca_file=tmp_path / "ca.pem", **SMALL)
        async with NatsEngine.open(settings) as engine:
            assert (await engine.owners.read(new_id())).token == 0


async def test_an_unknown_authority_is_not_trusted(tmp_path: Path) -> None:
    with tls_servers(tmp_path) as (servers, _):
        await _is_not_connected(NatsSettings(node="a", servers=servers.urls, **SMALL), "certificate verify failed")


async def test_a_certificate_of_another_host_is_not_trusted(tmp_path: Path) -> None:
    with tls_servers(tmp_path, host="elsewhere.example.com") as (servers, _):
        settings = NatsSettings(node="a", servers=servers.urls, ca_file=tmp_path / "ca.pem", **SMALL)
        await _is_not_connected(settings, "certificate verify failed")


async def test_a_client_certificate(tmp_path: Path) -> None:
    with tls_servers(tmp_path, "verify: true") as (servers, ca):
        client = tmp_path / "client.pem"
        ca.issue_cert("a.example.com").private_key_and_cert_chain_pem.write_to_path(str(client))
        without = NatsSettings(node="a", servers=servers.urls, ca_file=tmp_path / "ca.pem", **SMALL)
        async with NatsEngine.open(attrs.evolve(without, cert_file=client, key_file=client)) as engine:
            assert (await engine.owners.read(new_id())).token == 0
        await _is_not_connected(without, "(?i)certificate required|bad certificate|connection reset|eof")


async def test_a_hanging_tls_server_is_left_at_once(tmp_path: Path) -> None:
    """asyncio waits `END_OF_TLS_S` for the polite end of TLS."""
    with tls_servers(tmp_path) as (servers, _):
        settings = NatsSettings(node="a", servers=servers.urls, ca_file=tmp_path / "ca.pem", ping_s=0.2, **SMALL)
        async with NatsEngine.open(settings) as engine:
            servers.each[0].freeze()
            began = trio.current_time()
            try:
                await holds(lambda: not engine.owners.is_up)
            finally:
                servers.each[0].thaw()
            assert trio.current_time() - began < END_OF_TLS_S
            await holds(lambda: engine.owners.is_up)


async def test_no_password_goes_to_a_server_without_tls() -> None:
    async with FakeServer.running({"auth_required": True, "nonce": "abc"}) as server:
        url = server.url.replace("nats://", "tls://")
        settings = NatsSettings(node="a", servers=(url,), user="u", password="open sesame", **SMALL)
        await _is_not_connected(settings, "does not offer TLS")
        assert server.received
        assert not any(server.received)


async def test_a_server_that_another_announces_is_held_to_the_rules() -> None:
    info = {"connect_urls": ["192.0.2.1:4222"]}
    async with FakeServer.running(info, b"-ERR 'Stale Connection'\r\n") as server:
        await _is_not_connected(NatsSettings(node="a", servers=(server.url,), **SMALL), "plain text over the network")


async def test_user_and_password(tmp_path: Path) -> None:
    with running(tmp_path, more='authorization { users: [{ user: "a", password: "open sesame" }] }') as servers:
        settings = NatsSettings(node="a", servers=servers.urls, user="a", password="open sesame", **SMALL)
        async with NatsEngine.open(settings) as engine:
            assert (await engine.owners.read(new_id())).token == 0
        wrong = NatsSettings(node="a", servers=servers.urls, user="a", password="open barley", **SMALL)
        await _is_not_connected(wrong, "(?i)authorization violation")


async def test_an_nkey(tmp_path: Path) -> None:
    seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
    other = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
    public = nkeys.from_seed(bytearray(seed)).public_key.decode()
    with running(tmp_path, more=f'authorization {{ users: [{{ nkey: "{public}" }}] }}') as servers:
        async with NatsEngine.open(NatsSettings(node="a", servers=servers.urls, nkey=seed.decode(), **SMALL)) as engine:
            assert (await engine.owners.read(new_id())).token == 0
        await _is_not_connected(
            NatsSettings(node="a", servers=servers.urls, nkey=other.decode(), **SMALL), "(?i)authorization violation"
        )


async def test_the_permissions_that_we_name_are_enough(tmp_path: Path) -> None:
    with running(tmp_path, more=_users(LAYOUT.permissions("a"))) as servers:
        settings = NatsSettings(node="a", servers=servers.urls, user="a", password="p", **SMALL)
        async with NatsEngine.open(settings) as engine:
            await use_all(engine)
            assert engine.trouble is None
            assert engine.denied == ()


@pytest.mark.parametrize(
    ("without", "named"),
    [
        *((each, f"publish to {each.lower().partition('*')[0].rstrip('>')}") for each in LAYOUT.permissions("a")[0]),
        ("rtms.>", "subscribe to rtms.beat.>"),
        ("_INBOX_rtms.a.>", "subscribe to _inbox_rtms.a."),
    ],
)
async def test_a_missing_permission_is_named_at_the_start(tmp_path: Path, without: str, named: str) -> None:
    """Not only when it is needed: that may be months later, when a stream is revoked."""
    publish, subscribe = LAYOUT.permissions("a")
    kept = ([each for each in publish if each != without], [each for each in subscribe if each != without])
    with running(tmp_path, more=_users(kept)) as servers:
        settings = NatsSettings(node="a", servers=servers.urls, user="a", password="p", **SMALL)
        async with NatsEngine.open(settings, start_s=0.5) as engine:
            words = f"deny the user of a the permission to {named}"
            await holds(lambda: any(words in denied for denied in engine.denied))


async def test_a_permission_that_was_granted_is_not_missed_any_more(tmp_path: Path) -> None:
    publish, subscribe = LAYOUT.permissions("a")
    with running(tmp_path, more=_users((publish[:-1], subscribe))) as servers:
        settings = NatsSettings(node="a", servers=servers.urls, user="a", password="p", **SMALL)
        async with NatsEngine.open(settings) as engine:
            await holds(lambda: engine.denied != ())
            servers.kill()
            servers.each[0].more = _users((publish, subscribe))
            servers.start()
            await holds(lambda: engine.connections == 2 and engine.trouble is None)
            assert engine.denied == ()


async def test_what_is_forbidden_fails_at_once(tmp_path: Path) -> None:
    publish, subscribe = LAYOUT.permissions("a")
    with running(tmp_path, more=_users((publish[1:], subscribe))) as servers:
        settings = NatsSettings(node="a", servers=servers.urls, user="a", password="p", **SMALL | {"answer_s": 3600})
        async with NatsEngine.open(settings) as engine:
            with trio.fail_after(LIMIT_S), pytest.raises(Denied, match=r"publish to rtms\.00\.own\..*: grant it$"):
                await engine.owners.claim(own(member("a", engine), new_id()), seen=0)


async def _is_not_connected(settings: NatsSettings, words: str) -> None:
    """Check that a member does not connect, and says why."""
    async with NatsEngine.open(settings, start_s=0) as engine:
        await holds(lambda: re.search(words, engine.trouble or "") is not None)
        assert not engine.owners.is_up
        with pytest.raises(Away, match="not connected"):
            await engine.beats.beat(Beat(node="a", incarnation="i", n=1))


def _users(permissions: tuple[Sequence[str], Sequence[str]]) -> str:
    publish, subscribe = (", ".join(f'"{each}"' for each in subjects) for subjects in permissions)
    return (
        'authorization { users: [{ user: "a", password: "p", permissions: '
        f"{{ publish: {{ allow: [{publish}] }}, subscribe: {{ allow: [{subscribe}] }} }} }}] }}"
    )
