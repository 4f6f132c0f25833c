"""The sockets of the endpoint."""

import os
import socket
from pathlib import Path

import pytest

from rtmsd.errors import AlreadyRunningError, ListenError
from rtmsd.http.listening import address_of
from rtmsd.webhook.listen import open_listeners


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "[::1]:0", "localhost:0"])
async def test_tcp_with_port_0(listen: str) -> None:
    for listener in await open_listeners(listen):
        host, _, port = address_of(listener).rpartition(":")
        assert host in ("127.0.0.1", "[::1]")
        assert int(port) > 0
        await listener.aclose()


async def test_a_taken_port_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ListenError, match=address):
            await open_listeners(address)


async def test_what_is_passed_must_be_a_listening_socket() -> None:
    with socket.socket() as quiet, pytest.raises(ListenError):
        await open_listeners("127.0.0.1:0", [os.dup(quiet.fileno())])


async def test_a_stale_socket_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    [stale] = await open_listeners(f"unix:{path}")
    await stale.aclose()
    assert path.is_socket()
    [live] = await open_listeners(f"unix:{path}")
    with pytest.raises(AlreadyRunningError, match=r"webhook\.listen: .*web\.sock"):
        await open_listeners(f"unix:{path}")
    assert path.stat().st_mode & 0o777 == 0o666
    await live.aclose()


async def test_another_kind_of_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text("mine")
    with pytest.raises(ListenError, match=r"webhook\.listen: .* is not a socket"):
        await open_listeners(f"unix:{path}")
    assert path.read_text() == "mine"


async def test_a_missing_directory_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ListenError, match="missing"):
        await open_listeners(f"unix:{tmp_path}/missing/web.sock")
