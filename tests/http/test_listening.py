"""Listening sockets: a path is taken when it is free or stale, never from a live daemon."""

import fcntl
import os
import re
import socket
import stat
from contextlib import closing
from pathlib import Path

import pytest
import trio

from rtmsd.admin.listener import caller_of, inherited_admin_socket, open_admin_socket
from rtmsd.errors import AlreadyRunningError, ListenError
from rtmsd.http.listening import open_tcp


async def connects(path: Path) -> bool:
    try:
        stream = await trio.open_unix_socket(path)
    except OSError:
        return False
    await stream.aclose()
    return True


def leave_stale_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


async def test_the_group_may_connect_whatever_the_umask_and_the_file_is_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "run" / "admin.sock"
    old_umask = os.umask(0o077)
    try:
        with open_admin_socket(path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
            assert await connects(path)
    finally:
        os.umask(old_umask)
    assert not path.exists()


async def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    leave_stale_socket(path)
    assert not await connects(path)
    with open_admin_socket(path):
        assert await connects(path)


async def test_a_live_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with open_admin_socket(path):
        with pytest.raises(AlreadyRunningError, match=r"admin\.sock"), open_admin_socket(path):
            pass
        assert await connects(path)


async def test_a_full_backlog_means_a_live_daemon(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with closing(socket.socket(socket.AF_UNIX)) as busy, closing(socket.socket(socket.AF_UNIX)) as waiting:
        busy.bind(str(path))
        busy.listen(0)
        waiting.connect(str(path))
        with pytest.raises(AlreadyRunningError), open_admin_socket(path):
            pass
        assert path.exists()


async def test_of_two_daemons_that_start_together_one_gives_up(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    leave_stale_socket(path)
    other = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(AlreadyRunningError, match="starting"), open_admin_socket(path):
            pass
    finally:
        os.close(other)


async def test_a_socket_that_took_our_place_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with open_admin_socket(path):
        path.unlink()
        leave_stale_socket(path)
    assert path.exists()


async def test_another_kind_of_file_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    path.write_text("precious")
    with pytest.raises(ListenError, match=r"admin\.socket: .* is not a socket"), open_admin_socket(path):
        pass
    assert path.read_text() == "precious"


async def test_a_path_that_cannot_be_bound_is_no_mistake_of_the_configuration(tmp_path: Path) -> None:
    """The next start may succeed, which the exit status of a bad configuration would rule out."""
    with pytest.raises(ListenError, match=r"admin\.socket: .*too long"), open_admin_socket(tmp_path / ("x" * 120)):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(ListenError, match=r"admin\.socket: "), open_admin_socket(tmp_path / "file" / "admin.sock"):
        pass


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "[::1]")])
async def test_a_port_in_use_is_refused_with_its_holder(family: socket.AddressFamily, host: str) -> None:
    with socket.create_server((host.strip("[]"), 0), family=family) as holder:
        taken = f"{host}:{holder.getsockname()[1]}"
        words = f"admin.metrics_listen: cannot listen on {taken}: in use by "
        with pytest.raises(ListenError, match=re.escape(words) + rf".* \(process {os.getpid()}\)"):
            await open_tcp("admin.metrics_listen", taken)


async def test_an_inherited_socket_is_served_and_its_file_is_left(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as systemd:
        systemd.bind(str(path))
        systemd.listen()
        listener = inherited_admin_socket(os.dup(systemd.fileno()))
        async with await trio.open_unix_socket(path), listener, await listener.accept() as accepted:
            caller = caller_of(accepted)
        assert (caller.pid, caller.uid) == (os.getpid(), os.geteuid())
        assert path.exists()


@pytest.mark.parametrize("family", [socket.AF_UNIX, socket.AF_INET])
async def test_an_inherited_socket_of_the_wrong_kind_is_refused(family: socket.AddressFamily) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        if family is socket.AF_INET:
            sock.listen()
        with pytest.raises(ListenError, match="not a listening Unix stream socket"):
            inherited_admin_socket(sock.fileno())
        assert sock.fileno() >= 0
    with pytest.raises(ListenError, match="is not a socket"):
        inherited_admin_socket(sock_that_is_closed())


def sock_that_is_closed() -> int:
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.fileno()
