"""The base of all exports: the recording as a source, times, and results that appear whole or not at all."""

import json
import os
import shutil
from pathlib import Path

import pytest

from rtmsd.export.errors import ExportError, NoSuchParticipant, RecordingRevoked, WrongRequest
from rtmsd.export.extra import need
from rtmsd.export.output import Output
from rtmsd.export.report import Report
from rtmsd.export.request import Request
from rtmsd.export.source import Problem, Source
from rtmsd.export.span import Span, read_moment, resolve, write_offset
from rtmsd.recording.library.catalog import find_recordings
from rtmsd.recording.manifest.lines import Line
from rtmsd.recording.manifest.schema import GapEntry
from rtmsd.recording.recovery.repair import repair
from rtmsd.recording.verify.verify import verify
from tests.export.recordings import STARTED_MS, Made, revoke


@pytest.fixture
def made(tmp_path: Path) -> Made:
    made = Made(tmp_path / "2026-09-21" / "one")
    made.person(1, "Ana")
    made.audio(1, 100, b"\1\0" * 16_000)
    made.audio("c-2", 600, b"\2\0" * 16_000)
    return made


def output(source: Source, **options: object) -> Output:
    return Output(source, Request(format="test", **options), Report(source))  # type: ignore[arg-type] # as the caller says


# The source


def test_a_recording_as_a_source(made: Made) -> None:
    made.gaps.append(GapEntry("audio", None, STARTED_MS + 50, None, "media_reconnect"))
    source = Source(made.save())
    assert source.speakers == {1: "Ana", "c-2": "c-2"}
    assert {user_id: [file.path for file in files] for user_id, files in source.audio.items()} == {
        1: ["audio/1.wav"],
        "c-2": ["audio/c-2.wav"],
    }
    assert source.end_ms == STARTED_MS + 1600
    assert source.gaps[0].to_ms == source.end_ms
    assert not source.is_live
    assert source.problems == []


def test_of_a_live_stream_there_is_what_is_synced(made: Made) -> None:
    source = Source(made.save("active"))
    assert source.is_live
    assert source.end_ms == STARTED_MS + 1600


def test_damaged_files_are_named_and_left_out(made: Made, tmp_path: Path) -> None:
    (made.directory / "audio/c-2.wav").write_bytes(b"RIFF")
    stolen = made.audio(3, 0, b"\1\0" * 1600)
    stolen.rename(tmp_path / "elsewhere.wav")
    stolen.symlink_to(tmp_path / "elsewhere.wav")
    made.audio(4, 0, b"\1\0" * 1600).unlink()
    os.truncate(made.audio(5, 0, b"\1\0" * 1600), 1602)
    source = Source(made.save())
    assert {problem.path for problem in source.problems} == {f"audio/{name}.wav" for name in ("c-2", 3, 4, 5)}
    assert list(source.audio) == [1, 5]
    assert 0 < source.audio[5][0].blocks < 1600


def test_broken_lines_are_one_problem(made: Made) -> None:
    path = made.lines("chat", [{"timestamp_ms": number} for number in range(3)])
    path.write_bytes(path.read_bytes() + b'{"timestamp_ms": "x"}\n{"timestamp_ms": 4')
    source = Source(made.save())
    assert [line["timestamp_ms"] for line in source.lines("chat.jsonl", Line.TEXT)] == [0, 1, 2]
    assert [problem.path for problem in source.problems] == ["chat.jsonl"]
    assert "line 4" in source.problems[0].detail
    assert "1 more" in source.problems[0].detail
    assert list(source.lines("events.jsonl", Line.EVENT)) == []


def test_the_line_that_is_being_written_is_no_problem(made: Made) -> None:
    path = made.lines("chat", [{"timestamp_ms": 1}])
    path.write_bytes(path.read_bytes() + b'{"times')
    source = Source(made.save("active"))
    assert len(list(source.lines("chat.jsonl", Line.TEXT))) == 1
    assert source.problems == []


def test_no_manifest_is_no_source(made: Made) -> None:
    with pytest.raises(ExportError, match=r"stream\.json"):
        Source(made.directory)


def test_a_receipt_is_no_source(made: Made) -> None:
    revoke(made.save())
    with pytest.raises(RecordingRevoked):
        Source(made.directory)


# Times


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0:00:00", STARTED_MS),
        ("1:02:03.5", STARTED_MS + 3_723_500),
        ("0:00:00.007", STARTED_MS + 7),
        ("2026-09-21T13:53:20.250Z", 1_789_998_800_250),
        ("2026-09-21T15:53:20+02:00", 1_789_998_800_000),
    ],
)
def test_times(text: str, expected: int) -> None:
    moment = read_moment(text)
    assert moment.at(STARTED_MS) == expected
    if moment.is_offset:
        assert read_moment(write_offset(moment.ms)) == moment


@pytest.mark.parametrize("text", ["", "1:2", "0:60:00", "-1:00:00", "tomorrow", "2026-09-21T13:53:20", "0:00:00.1234"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no time|time zone"):
        read_moment(text)


def test_a_span_holds_something() -> None:
    assert resolve(read_moment("0:00:01"), None, 5000, 9000) == Span(6000, None)
    for first, last in [("0:00:04", None), ("0:00:03", "0:00:03"), (None, "0:00:00")]:
        with pytest.raises(WrongRequest):
            resolve(read_moment(first) if first else None, read_moment(last) if last else None, 5000, 9000)


# Results


def test_a_result_appears_whole(made: Made) -> None:
    source = Source(made.save())
    with output(source) as out:
        with out.file("mix.wav") as file:
            file.write(b"whole")
        assert not (made.directory / "export/mix.wav").exists()
    assert [path.name for path in (made.directory / "export").iterdir()] == ["mix.wav"]
    with pytest.raises(ExportError, match="is there already") as caught, output(source) as out, out.file("mix.wav"):
        pass
    assert "--force" in caught.value.hint
    with output(source, is_forced=True) as out, out.file("mix.wav") as file:
        file.write(b"new")
    assert (made.directory / "export/mix.wav").read_bytes() == b"new"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), SystemExit(143)])
def test_after_an_error_nothing_is_left(made: Made, error: BaseException) -> None:
    source = Source(made.save())
    with output(source) as out, out.file("mix.wav") as file:
        file.write(b"earlier")
    with (
        pytest.raises(type(error)) as caught,
        output(source, is_forced=True) as out,
        out.file("1.wav", "tracks"),
        out.file("mix.wav"),
    ):
        raise error
    assert [str(path.relative_to(made.directory)) for path in (made.directory / "export").rglob("*")] == [
        "export/mix.wav"
    ]
    assert (made.directory / "export/mix.wav").read_bytes() == b"earlier"
    if isinstance(caught.value, OSError):
        assert caught.value.filename == str(made.directory / "export/mix.wav")


@pytest.mark.parametrize("how", ["revoked", "removed"])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_revocation_meanwhile_is_noticed(made: Made, tmp_path: Path, how: str, elsewhere: bool) -> None:
    source = Source(made.save())
    place = tmp_path / "mine.wav"
    with (
        pytest.raises(RecordingRevoked),
        output(source, **({"output": str(place)} if elsewhere else {})) as out,
        out.file("mix.wav") as file,
    ):
        file.write(b"secret")
        if how == "revoked":
            revoke(made.directory)
        else:
            shutil.rmtree(made.directory)
    assert not list(tmp_path.rglob("*.wav"))
    assert not list(tmp_path.rglob("*.tmp"))
    assert made.directory.exists() == (how == "revoked")
    if how == "revoked":
        assert verify(made.directory) == []


def test_progress_notices_a_revocation(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 10.0
    monkeypatch.setattr("rtmsd.export.source.time.monotonic", lambda: now_s)
    report = Report(Source(made.save()))
    report.progress(0.1)
    revoke(made.directory)
    report.progress(0.2)  # not yet looked for again
    now_s += 0.5
    with pytest.raises(RecordingRevoked):
        report.progress(0.3)


def test_a_result_may_be_elsewhere(made: Made, tmp_path: Path) -> None:
    source = Source(made.save())
    with output(source, output=str(tmp_path / "mine.wav")) as out, out.file("mix.wav"):
        pass
    with output(source, output=str(tmp_path / "new")) as out, out.file("1.wav", "tracks"), out.file("2.wav", "tracks"):
        pass
    with output(source, output=str(tmp_path)) as out, out.file("mix.wav"):
        pass
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {"mine.wav", "mix.wav"}
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"1.wav", "2.wav"}
    with (
        pytest.raises(WrongRequest, match="several"),
        output(source, output=str(tmp_path / "one.mkv")) as out,
        out.file("video-1-1.mkv"),
        out.file("video-1-2.mkv"),
    ):
        pass
    assert not (tmp_path / "one.mkv").exists()


def test_originals_are_never_replaced(made: Made) -> None:
    source = Source(made.save())
    for name in ("audio/1.wav", "stream.json", "audio/new.wav"):
        place = str(made.directory / name)
        with pytest.raises(WrongRequest), output(source, output=place, is_forced=True) as out, out.file("mix.wav"):
            pass
    assert verify(made.directory) == []


def test_two_exports_of_one_result(made: Made) -> None:
    source = Source(made.save())
    with output(source) as first, first.file("mix.wav") as file:
        file.write(b"first")
        with pytest.raises(ExportError, match="another export"), output(source) as second, second.file("mix.wav"):
            pass
    assert (made.directory / "export/mix.wav").read_bytes() == b"first"


def test_what_a_crash_left_is_used_again(made: Made) -> None:
    source = Source(made.save())
    (made.directory / "export").mkdir()
    (made.directory / "export/.mix.wav.tmp").write_bytes(b"much longer than the new one")
    with output(source) as out, out.file("mix.wav") as file:
        file.write(b"new")
    assert [path.read_bytes() for path in (made.directory / "export").iterdir()] == [b"new"]


def test_a_link_in_the_place_of_the_directory_is_not_followed(made: Made, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (made.directory / "export").symlink_to(tmp_path / "elsewhere")
    source = Source(made.save())
    with output(source) as out, out.file("mix.wav"):
        pass
    assert not list((tmp_path / "elsewhere").iterdir())


def test_exports_belong_to_the_recording_as_far_as_they_must(made: Made, tmp_path: Path) -> None:
    """`verify` and `repair` leave them alone, retention counts them, and a revocation deletes them."""
    source = Source(made.save())
    before_bytes = find_recordings(tmp_path)[0].bytes
    with output(source) as out, out.file("1.wav", "tracks") as file:
        file.write(bytes(100_000))
    (made.directory / "export/.mix.wav.tmp").write_bytes(b"of another export that is running")
    (made.directory / "export/tracks/link").symlink_to("1.wav")
    assert verify(made.directory) == []
    assert not [line for line in repair(made.directory) if "export" in line]
    assert (made.directory / "export/.mix.wav.tmp").exists()
    assert find_recordings(tmp_path)[0].bytes >= before_bytes + 100_000
    revoke(made.directory)
    assert [path.name for path in made.directory.iterdir()] == ["stream.json"]


def test_root_leaves_results_to_the_owner(made: Made) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    source = Source(made.save())
    os.chown(made.directory, 1234, 1235)
    with output(source) as out, out.file("1.wav", "tracks"):
        pass
    for name in ("export", "export/tracks", "export/tracks/1.wav"):
        known = (made.directory / name).stat()
        assert (known.st_uid, known.st_gid) == (1234, 1235)


def test_participants_are_named(made: Made) -> None:
    source = Source(made.save())
    request = Request(format="wav", user_ids=frozenset({"1", "7"}))
    with pytest.raises(NoSuchParticipant, match="'7'") as caught:
        request.check_participants(source)
    assert caught.value.hint == "1  Ana\nc-2  c-2"
    made.person(3, "two\nlines")
    with pytest.raises(NoSuchParticipant) as caught:
        request.check_participants(Source(made.save()))
    assert caught.value.hint.splitlines()[1:] == ["3  two lines", "c-2  c-2"]
    assert request.wants(1)
    assert not request.wants("c-2")


def test_a_missing_extra_is_named() -> None:
    with pytest.raises(ExportError, match=r"--format flac needs .*pip install 'rtmsd\[media\]'"):
        need("a_module_that_is_nowhere", "--format flac")


def test_the_report_is_json(made: Made) -> None:
    source = Source(made.save())
    source.problems.append(Problem("audio/9.wav", "gone"))
    report = Report(source)
    with Output(source, Request(format="wav"), report) as out, out.file("mix.wav", user_id=1):
        pass
    shown = json.loads(json.dumps(report.to_json()))
    assert shown["files"] == [{"path": str(made.directory / "export/mix.wav"), "user_id": 1, "bytes": 0}]
    assert shown["problems"] == [{"path": "audio/9.wav", "detail": "gone"}]
