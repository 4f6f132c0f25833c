"""The CA of a simulator with TLS: kept in a file, trusted beforehand, and the report of a client without trust."""

import socket
import ssl
import stat
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trio
import trustme

from rtmsd.simulator import SimulatorSettings, open_simulator
from rtmsd.simulator.model.record import Notice, StrayConnection
from rtmsd.simulator.server.authority import AuthorityError, key_file, open_authority
from tests.simulator.conftest import Client


def test_an_existing_ca_is_used_again(tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    first = open_authority(ca_file)
    before = ca_file.read_bytes(), key_file(ca_file).read_bytes()
    second = open_authority(ca_file)
    assert (ca_file.read_bytes(), key_file(ca_file).read_bytes()) == before
    assert first.cert_pem.bytes() == second.cert_pem.bytes() == before[0]
    assert stat.S_IMODE(key_file(ca_file).stat().st_mode) == 0o600
    ssl.create_default_context(cafile=str(ca_file))


def test_the_key_may_stand_in_the_same_file_and_an_empty_file_is_none(tmp_path: Path) -> None:
    authority, ca_file = trustme.CA(), tmp_path / "ca.pem"
    ca_file.write_bytes(authority.private_key_pem.bytes() + authority.cert_pem.bytes())
    assert open_authority(ca_file).cert_pem.bytes() == authority.cert_pem.bytes()
    empty = tmp_path / "empty.pem"
    empty.touch()
    open_authority(empty)
    assert b"CERTIFICATE" in empty.read_bytes()


def test_an_unusable_ca_is_left_alone(tmp_path: Path) -> None:
    authority, ca_file = trustme.CA(), tmp_path / "ca.pem"
    ca_file.write_bytes(authority.cert_pem.bytes())
    with pytest.raises(AuthorityError, match=r"ca\.pem: holds no private key, and there is no ca\.pem\.key beside it"):
        open_authority(ca_file)
    key_file(ca_file).write_bytes(trustme.CA().private_key_pem.bytes())
    with pytest.raises(AuthorityError, match="is another certificate's"):
        open_authority(ca_file)
    key_file(ca_file).write_bytes(b"not a key")
    with pytest.raises(AuthorityError, match="no certificate with a readable private key"):
        open_authority(ca_file)
    assert ca_file.read_bytes() == authority.cert_pem.bytes()


async def test_a_client_that_trusts_the_file_beforehand_connects_by_name(tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    open_authority(ca_file)
    trusting = ssl.create_default_context(cafile=str(ca_file))
    settings = SimulatorSettings(host="localhost", tls=True, ca_file=ca_file)
    async with open_simulator(settings) as simulator:
        session = await simulator.start_session()
        assert urlsplit(session.signaling_url).hostname == "localhost"
        async with Client(session, settings, tls=trusting).signaling():
            assert session.record.violations == []


def connect_without_trust(host: str, port: int) -> None:
    """Reject the certificate as most clients do: with an alert."""
    with socket.create_connection((host, port)) as plain, pytest.raises(ssl.SSLCertVerificationError):
        ssl.create_default_context().wrap_socket(plain, server_hostname=host)


def speak_http(host: str, port: int) -> None:
    with socket.create_connection((host, port)) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
        while plain.recv(100):
            pass


def leave(host: str, port: int) -> None:
    socket.create_connection((host, port)).close()


@pytest.mark.parametrize(
    ("client", "why"),
    [
        (connect_without_trust, "the client does not trust the CA"),
        (speak_http, "it speaks plain HTTP"),
        (leave, "the client closed in the middle of the handshake"),
    ],
)
async def test_a_tls_handshake_that_fails_is_reported(client: Callable[[str, int], None], why: str) -> None:
    notices, heard = trio.open_memory_channel[Notice](10)
    async with open_simulator(SimulatorSettings(tls=True)) as simulator:
        simulator.observer = lambda rtms_stream_id, notice: notices.send_nowait(notice)
        host, _, port = simulator.address.rpartition(":")
        await trio.to_thread.run_sync(client, host, int(port))
        with trio.fail_after(60):
            notice = await heard.receive()
    assert isinstance(notice, StrayConnection)
    assert why in notice.why
