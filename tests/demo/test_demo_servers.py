"""The NATS servers of the demo, and of tests: found, and given ports of their own."""

import socket
import sys
from pathlib import Path

import pytest

from rtmsd.demo.cluster.ports import reserved_ports
from rtmsd.demo.cluster.servers import PROGRAM, VARIABLE, ServerError, find_program, running
from rtmsd.demo.stage import HOST


def test_the_program_is_that_of_the_variable_or_of_the_path_or_beside_the_interpreter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_path, beside = tmp_path / "path" / PROGRAM, tmp_path / "beside" / PROGRAM
    for program in (on_path, beside):
        program.parent.mkdir()
        program.touch(0o755)
    monkeypatch.setenv("PATH", str(on_path.parent))
    monkeypatch.setattr(sys, "executable", str(beside.with_name("python")))
    monkeypatch.setenv(VARIABLE, "/elsewhere/nats")
    assert find_program() == "/elsewhere/nats"
    monkeypatch.delenv(VARIABLE)
    assert find_program() == str(on_path)
    on_path.unlink()
    assert find_program() == str(beside)
    beside.unlink()
    with pytest.raises(ServerError, match=rf"pip install 'rtmsd\[demo\]'.*\${VARIABLE}"):
        find_program()


def test_a_reserved_port_refuses_until_its_server_listens_and_after_it_is_gone() -> None:
    with reserved_ports(2) as ports:
        assert len(set(ports)) == 2
        for port in ports:
            for _ in range(2):
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection((HOST, port), timeout=5)
                with socket.create_server((HOST, port)), socket.create_connection((HOST, port), timeout=5):
                    pass


def test_a_server_that_cannot_start_is_said(tmp_path: Path) -> None:
    with (
        pytest.raises(ServerError, match="NATS server s1 has died: see its log in "),
        running(tmp_path, more="nonsense"),
    ):
        pytest.fail("it runs")
    assert "config is invalid" in (tmp_path / "s1.log").read_text()


def test_a_program_that_cannot_be_started_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "missing"))
    with pytest.raises(ServerError, match=r"missing, which is in \$RTMSD_NATS_SERVER.*No such file"), running(tmp_path):
        pytest.fail("it runs")
