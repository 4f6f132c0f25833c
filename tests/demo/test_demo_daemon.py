"""A daemon that fails to start."""

import socket
from contextlib import aclosing
from pathlib import Path

import pytest

from rtmsd.demo.daemon import DaemonError, DaemonProcess, open_admin


async def test_a_daemon_that_ends_at_once_is_reported_with_its_last_line(tmp_path: Path) -> None:
    config, log = tmp_path / "no.toml", tmp_path / "daemon.log"
    with socket.create_server(("127.0.0.1", 0)) as webhook:
        async with open_admin(tmp_path / "a") as admin, aclosing(DaemonProcess(config, log, admin, webhook)) as daemon:
            with pytest.raises(DaemonError) as error:
                await daemon.start()
    first, second = str(error.value).splitlines()
    assert first == f"the daemon ended with 78, see {log}"
    assert "no.toml" in second
