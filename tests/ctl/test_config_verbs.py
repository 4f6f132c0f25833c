"""config check, show and diff, with the daemon's own reader."""

import json
from pathlib import Path
from typing import Any

import pytest

from rtmsd.config import as_masked_dict, effective, load
from rtmsd.ctl.errors import Exit
from rtmsd.ctl.verbs.config import flattened
from tests.ctl.nobody import unprivileged

Ctl = Any
FakeDaemon = Any
Capture = pytest.CaptureFixture[str]

GOOD = """
[[app]]
client_id = "client"
client_secret = { value = "c-secret" }
webhook_secret = { value = "w-secret" }
"""
PLACES = """
[webhook]
listen = "127.0.0.1:0"
[recording]
directory = "recordings"
[state]
file = "state.sqlite"
[admin]
socket = "none.sock"
"""


@pytest.fixture
def file(daemon: FakeDaemon, tmp_path: Path) -> Path:
    """The running daemon's configuration."""
    path = tmp_path / "config.toml"
    path.write_text(GOOD + PLACES)
    path.chmod(0o600)  # it holds secrets, and everybody's reading them would be a warning
    daemon.answers["GET /v1/status"] = {"config_file": str(path)}
    daemon.answers["GET /v1/config"] = as_masked_dict(load(path)) | {"effective": effective(load(path))}
    return path


def test_check_the_daemons_file(ctl: Ctl, file: Path, capsys: Capture) -> None:
    assert ctl("config", "check") == Exit.OK
    assert capsys.readouterr().out == f"{file}: ok\n"
    assert ctl("config", "check", "--json") == Exit.OK
    assert json.loads(capsys.readouterr().out) == {"file": str(file), "ok": True, "mistakes": [], "warnings": []}


def test_check_warns_of_risks(ctl: Ctl, file: Path, capsys: Capture) -> None:
    file.chmod(0o644)
    assert ctl("config", "check") == Exit.OK
    assert "\nwarning: app[0].client_secret: " in capsys.readouterr().out


def test_check_another_file_without_a_daemon(ctl: Ctl, daemon: FakeDaemon, file: Path, capsys: Capture) -> None:
    daemon.path.unlink()
    file.write_text(GOOD + '[streams]\ndrain_s = "long"\n[mediaa]\n')
    assert ctl("config", "check", str(file)) == Exit.BAD_CONFIG
    wrong, *mistakes = capsys.readouterr().err.splitlines()
    assert wrong == f"rtmsctl: {file} is wrong"
    assert len(mistakes) == 2
    assert any(line.startswith("streams.drain_s: ") for line in mistakes)


def test_check_lists_mistakes_in_json_too(ctl: Ctl, file: Path, capsys: Capture) -> None:
    file.write_text(GOOD + "[mediaa]\n")
    assert ctl("config", "check", "--json") == Exit.BAD_CONFIG
    printed = capsys.readouterr()
    shown = json.loads(printed.out)
    assert (shown["file"], shown["ok"], shown["warnings"], printed.err) == (str(file), False, [], "")
    assert [mistake.partition(":")[0] for mistake in shown["mistakes"]] == ["mediaa"]


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_file_without_permission(ctl: Ctl, file: Path, capsys: Capture, options: tuple[str, ...]) -> None:
    file.chmod(0)
    with unprivileged():
        assert ctl("config", "check", str(file), *options) == Exit.NOT_PERMITTED
    shown = capsys.readouterr().err
    assert shown == f"rtmsctl: cannot read {file}: Permission denied\nIt is for root and the daemon: use sudo.\n"


def test_without_a_daemon_the_default_file_is_checked(
    ctl: Ctl, daemon: FakeDaemon, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    daemon.path.unlink()
    monkeypatch.setattr("rtmsd.ctl.local_config.DEFAULT_FILE", file)
    assert ctl("config", "check") == Exit.OK
    assert capsys.readouterr().out == f"{file}: ok\n"


def test_a_file_that_is_not_there(ctl: Ctl, tmp_path: Path) -> None:
    assert ctl("config", "check", str(tmp_path / "none.toml")) == Exit.BAD_CONFIG


def test_what_cannot_be_used_on_this_machine(ctl: Ctl, file: Path, tmp_path: Path, capsys: Capture) -> None:
    """As in `rtmsd check`: a warning, an error with --here."""
    (tmp_path / "recordings").touch()
    line = f"recording.directory: {tmp_path}/recordings is a file, not a directory\n"
    assert ctl("config", "check") == Exit.OK
    assert capsys.readouterr().out == f"{file}: ok\nwarning: {line}"
    assert ctl("config", "check", "--here") == Exit.BAD_CONFIG
    assert capsys.readouterr().err == f"rtmsctl: {file} is wrong\n{line}"


@pytest.mark.parametrize("verb", [("config", "diff"), ("webhook", "test", "http://127.0.0.1:1/")])
def test_other_verbs_fail_for_a_wrong_file(ctl: Ctl, file: Path, verb: tuple[str, ...]) -> None:
    file.write_text(GOOD + "[mediaa]\n")
    assert ctl(*verb) == Exit.FAILED


@pytest.mark.usefixtures("file")
def test_show_hides_secrets(ctl: Ctl, capsys: Capture) -> None:
    assert ctl("config", "show") == Exit.OK
    shown = capsys.readouterr().out
    assert 'app[main].client_id\t"client"\n' in shown
    assert "streams.media_window_s\t65" in shown
    assert 'secret"' not in shown
    assert 'app[main].client_secret\t"***"\n' in shown


def test_show_ends_with_what_holds_for_each_app(ctl: Ctl, daemon: FakeDaemon, file: Path, capsys: Capture) -> None:
    own = '[app.media.audio]\nsend_rate_ms = 20\n[app.recording]\ndirectory = "care"\n'
    file.write_text(GOOD + own + PLACES)
    config = load(file)
    daemon.answers["GET /v1/config"] = as_masked_dict(config) | {"effective": effective(config)}
    assert ctl("config", "show") == Exit.OK
    shown = capsys.readouterr().out.partition("\n\n")[2].splitlines()
    assert shown[0] == "what holds for app main"
    assert "app[main].media.audio.send_rate_ms\t20\tits own" in shown
    assert f'app[main].recording.directory\t"{file.parent}/care"\tits own' in shown
    assert "app[main].recording.keep_days\t0\tdefault" in shown
    assert len(shown) == len(set(shown)) == len([line for line in shown if line.startswith("app[main].")]) + 1
    assert ctl("config", "show", "--json") == Exit.OK
    found = json.loads(capsys.readouterr().out)
    assert found["effective"]["main"]["media.audio.send_rate_ms"] == {"value": 20, "from": "app"}
    assert found["app"][0]["media"] == {"audio": {"send_rate_ms": 20}}


def test_diff_of_an_apps_own_keys(ctl: Ctl, file: Path, capsys: Capture) -> None:
    file.write_text(GOOD + '[app.recording]\ndirectory = "care"\nkeep_days = 3\n' + PLACES)
    assert ctl("config", "diff", "--json") == Exit.OK
    changes = {change["path"]: change for change in json.loads(capsys.readouterr().out)}
    assert changes["app[main].recording.directory"]["needs_restart"]
    assert not changes["app[main].recording.keep_days"]["needs_restart"]
    assert len(changes) == 2


def test_diff(ctl: Ctl, file: Path, capsys: Capture) -> None:
    assert ctl("config", "diff") == Exit.OK
    assert capsys.readouterr().out == ""
    text = file.read_text().replace("state.sqlite", "other.sqlite")
    file.write_text(text + "[streams]\ndrain_s = 9\n")
    assert ctl("config", "diff") == Exit.OK
    assert sorted(capsys.readouterr().out.splitlines()) == [
        f'state.file\t"{file.parent}/state.sqlite"\t"{file.parent}/other.sqlite"\trestart',
        "streams.drain_s\t8\t9\treload",
    ]
    assert ctl("config", "diff", "--json") == Exit.OK
    assert {change["path"] for change in json.loads(capsys.readouterr().out)} == {"state.file", "streams.drain_s"}


def test_diff_claims_nothing_of_secrets(ctl: Ctl, file: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(file.read_text().replace("c-secret", "another"))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert ctl("config", "diff") == Exit.OK
    assert capsys.readouterr().out == "nothing changed\nsecrets are not compared\n"
    assert ctl("config", "diff", "--help") == Exit.OK
    assert "Secrets are not compared" in capsys.readouterr().out


def test_credentials_are_found_where_systemd_puts_them(
    ctl: Ctl, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "c").write_text("c-secret\n")
    file.write_text(GOOD.replace('{ value = "c-secret" }', '{ credential = "c" }'))
    monkeypatch.setattr("os.environ", {})
    assert ctl("config", "check") == Exit.BAD_CONFIG
    monkeypatch.setattr("rtmsd.ctl.local_config.SERVICE_CREDENTIALS", credentials)
    assert ctl("config", "check") == Exit.OK


def test_apps_are_identified_by_name() -> None:
    config = {"app": [{"name": "a", "id": 1}, {"name": "b", "id": 2}], "log": {"level": "info"}}
    assert dict(flattened(config)) == {
        "app[a].name": "a",
        "app[a].id": 1,
        "app[b].name": "b",
        "app[b].id": 2,
        "log.level": "info",
    }
