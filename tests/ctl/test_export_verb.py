"""`rtmsctl recordings export` of a recording that is named by its id, or by the beginning of one."""

import json
from pathlib import Path
from typing import Any

import pytest

from rtmsd.ctl.errors import Exit
from rtmsd.ctl.main import main
from tests.ctl.nobody import unprivileged
from tests.export.recordings import Made

Ctl = Any
FakeDaemon = Any
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = Made(tmp_path / "2026-09-21" / "one")
    made.person(1, "Ana")
    made.audio(1, 0, bytes(100) + b"\1\0" * 16_000)
    return made.save()


def test_by_the_beginning_of_its_id(ctl: Ctl, daemon: FakeDaemon, directory: Path, capsys: Capture) -> None:
    listed = [("one", directory), ("other", directory.with_name("other"))]
    daemon.answers["GET /v1/recordings"] = [{"rtms_stream_id": name, "directory": str(place)} for name, place in listed]
    assert ctl("recordings", "export", "on", "--format", "wav", "--json") == Exit.OK
    said = json.loads(capsys.readouterr().out)
    assert said["files"] == [
        {"path": str(directory / "export/mix.wav"), "duration_ms": 1004, "bytes": said["files"][0]["bytes"]}
    ]
    assert ctl("recordings", "export", "o", "--format", "wav") == Exit.USAGE
    assert ctl("recordings", "export", "nobody", "--format", "wav") == Exit.NO_SUCH_STREAM


def test_of_a_directory_no_daemon_is_needed(ctl: Ctl, directory: Path, capsys: Capture) -> None:
    assert ctl("recordings", "export", str(directory), "--format", "wav") == Exit.OK
    assert capsys.readouterr().out == f"{directory}/export/mix.wav\t32.0 KiB, 1.0s\n"
    assert ctl("recordings", "export", str(directory), "--format", "wav") == Exit.FAILED
    assert "--force" in capsys.readouterr().err
    assert ctl("recordings", "export", str(directory), "--format", "wav", "--force") == Exit.OK


def test_many_results_are_counted(ctl: Ctl, tmp_path: Path, capsys: Capture) -> None:
    made = Made(tmp_path / "2026-09-21" / "one")
    for user_id in range(1, 52):
        made.audio(user_id, 0, bytes(320))
    assert ctl("recordings", "export", str(made.save()), "--tracks", "--format", "wav") == Exit.OK
    assert capsys.readouterr().out == f"{made.directory}/export/tracks\t51 files, 50.3 KiB\n"


@pytest.mark.parametrize("verb", [("export", "--format", "wav"), ("page",), ("verify",)])
def test_a_mistyped_directory_is_not_blamed_on_the_daemon(
    tmp_path: Path, verb: tuple[str, ...], capsys: Capture
) -> None:
    asked = ["--socket", str(tmp_path / "none"), "recordings", *verb]
    assert main([*asked, str(tmp_path / "nowhere")]) == Exit.NO_SUCH_STREAM
    assert "there is no such directory" in capsys.readouterr().err
    assert main([*asked, "nowhere"]) == Exit.UNREACHABLE
    assert "'nowhere' is no directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        (["--format", "gif"], "gif"),
        (["--format", "wav", "--from", "soon"], "H:MM:SS.mmm"),
        (["--format", "wav", "--bitrate", "24000"], "--bitrate"),
        (["--format", "wav", "--rate", "7"], "--rate"),
        (["--format", "wav", "--mix", "--tracks"], "--tracks"),
        (["--format", "opus", "--bitrate", "0"], "--bitrate"),
    ],
)
def test_options_that_make_no_sense(ctl: Ctl, directory: Path, options: list[str], wrong: str, capsys: Capture) -> None:
    try:
        status = ctl("recordings", "export", str(directory), *options)
    except SystemExit as exit_:  # argparse's own
        status = exit_.code
    assert status == Exit.USAGE
    assert wrong in capsys.readouterr().err
    assert not (directory / "export").exists()


def test_a_directory_that_only_its_owner_may_write_to(ctl: Ctl, directory: Path, capsys: Capture) -> None:
    for each in (directory, *directory.parents[:-2]):
        each.chmod(0o755)
    directory.chmod(0o555)
    for path in directory.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    with unprivileged():
        assert ctl("recordings", "export", str(directory), "--format", "wav") == Exit.NOT_PERMITTED
    assert f"{directory}/export" in (said := capsys.readouterr().err)
    assert "--output FILE" in said
