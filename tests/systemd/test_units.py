"""The unit files and those beside them, checked without running them."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rtmsd.config import StreamsConfig

UNITS = Path(__file__).parents[2] / "systemd"
SERVICE = UNITS / "rtmsd.service"
SOCKETS = {"webhook": UNITS / "rtmsd-webhook.socket", "admin": UNITS / "rtmsd-admin.socket"}
EXPOSURE_LIMIT = 1.5

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed here")


def settings(unit: Path) -> dict[str, list[str]]:
    """Return each setting of a unit with its values; sections do not share names here."""
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Type", "notify"),
        ("Restart", "always"),
        ("RestartPreventExitStatus", "78"),
        ("StartLimitIntervalSec", "0"),
        ("LimitNOFILE", "65536"),
        ("TasksMax", "16384"),
        ("StateDirectory", "rtmsd"),
        ("RuntimeDirectory", "rtmsd"),
        ("RuntimeDirectoryPreserve", "yes"),
        ("ConfigurationDirectory", "rtmsd"),
        ("Sockets", "rtmsd-webhook.socket rtmsd-admin.socket"),
    ],
)
def test_settings_of_the_service(name: str, value: str) -> None:
    assert settings(SERVICE)[name] == [value]


def test_reload_watchdog_and_credentials_of_the_service() -> None:
    service = settings(SERVICE)
    assert service.keys() >= {"ExecReload", "WatchdogSec", "LoadCredential"}
    assert "PrivateUsers" not in service  # it would hide the uids that the admin socket checks


def test_stopping_has_time_for_the_drain() -> None:
    (stop_s,) = map(float, settings(SERVICE)["TimeoutStopSec"])
    assert stop_s > StreamsConfig().drain_s + 10


@pytest.mark.parametrize("name", SOCKETS)
def test_a_socket_is_passed_by_its_name(name: str) -> None:
    unit = settings(SOCKETS[name])
    assert unit["FileDescriptorName"] == [name]
    assert unit["Service"] == ["rtmsd.service"]
    assert len(unit["ListenStream"]) == 1


@needs_systemd
def test_the_service_is_hardened() -> None:
    report = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(SERVICE)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    exposure = re.search(r"Overall exposure level for rtmsd\.service: ([\d.]+)", report)
    assert exposure is not None
    assert float(exposure[1]) <= EXPOSURE_LIMIT


@needs_systemd
def test_systemd_accepts_every_line(tmp_path: Path) -> None:
    for unit in (SERVICE, *SOCKETS.values(), UNITS / "nats-server.service"):
        text = unit.read_text()
        # the programs are not where they will be installed
        (tmp_path / unit.name).write_text(re.sub(r"/(opt/rtmsd|usr/local)/bin/[\w-]+", sys.executable, text))
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, tmp_path.iterdir())],
        capture_output=True,
        text=True,
        check=False,
    )
    complaints = [line for line in checked.stderr.splitlines() if "rtmsd" in line or "nats" in line]
    assert complaints == []
    assert checked.returncode == 0


@needs_systemd
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_user_and_directories(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    for command, file in (("systemd-sysusers", "rtmsd.sysusers.conf"), ("systemd-tmpfiles", "rtmsd.tmpfiles.conf")):
        options = ["--create"] if command == "systemd-tmpfiles" else []
        subprocess.run([command, *options, f"--root={tmp_path}", str(UNITS / file)], check=True, capture_output=True)
    (user,) = (tmp_path / "etc/passwd").read_text().splitlines()
    assert user.startswith("rtmsd:")
    modes = {
        path: (tmp_path / path).stat().st_mode & 0o777 for path in ("etc/rtmsd", "etc/rtmsd/credentials", "run/rtmsd")
    }
    assert modes == {"etc/rtmsd": 0o750, "etc/rtmsd/credentials": 0o700, "run/rtmsd": 0o755}
