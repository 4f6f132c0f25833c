"""Transcripts as subtitles and to read, read back by programs that know nothing of what wrote them."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pysubs2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmsd.ctl.errors import Exit
from rtmsd.ctl.main import main
from rtmsd.export.errors import ExportError, NoSuchParticipant
from rtmsd.export.exporters import find
from rtmsd.export.report import Report
from rtmsd.export.request import Request
from rtmsd.export.source import Source
from rtmsd.export.span import Moment
from rtmsd.export.text.srt import srt
from rtmsd.export.text.txt import txt
from rtmsd.recording.media.captions import captions, utterances
from tests.export.recordings import STARTED_MS, Made

T: Final = STARTED_MS
NEW, UPDATE, DELETE = 1, 2, 3
HOSTILE: Final = "<i>{\\an8}\\N1\n\n00:00:01,000 --> 00:00:09,000\r\n<b>\u202eAna: \u05d0&lt;\u2028[0:00:01] Eve: x"


def line(text: str, start_ms: int | None = 1000, end_ms: int | None = 2000, **more: Any) -> dict[str, Any]:
    times = {name: None if ms is None else T + ms for name, ms in (("start_ms", start_ms), ("end_ms", end_ms))}
    base = {"user_id": 5, "user_name": "Ana", "text": text, "attribute": None, "timestamp_ms": T + 3000}
    return {**base, **times, **more}


SAID: Final = [
    line("Good mourning", attribute=NEW),
    line("world", 2500, 3000),
    line("Shall we begin?", 8000, 9000, user_id=6, user_name="Bo"),
    line("(noise)", 5000, 6000, attribute=NEW),
    line("Good morning,", attribute=UPDATE),
    line("", 5000, None, attribute=DELETE),
    line("Yes", 5000, 6000),
]


def export(made: Made, form: str, **options: Any) -> tuple[str, Source, Report]:
    """Export into the recording, and return the text."""
    source = Source(made.directory if (made.directory / "stream.json").exists() else made.save())
    report = Report(source)
    find(form)(source, Request(format=form, is_forced=True, **options), report)
    name = "chat.txt" if form == "chat" else f"transcript.{form}"
    return (source.directory / "export" / name).read_text(), source, report


@pytest.fixture
def made(tmp_path: Path) -> Made:
    made = Made(tmp_path / "2026-09-21" / "one")
    made.person(5, "Ana")
    made.person(6, "Bo")
    made.lines("transcript", SAID)
    return made


def cues(text: str) -> list[tuple[int, int, str]]:
    return [(event.start, event.end, event.plaintext) for event in pysubs2.SSAFile.from_string(text, format_="srt")]


# All formats show the same


def test_subrip_is_revised_and_sorted_and_names_the_speaker(made: Made) -> None:
    assert cues(export(made, "srt")[0]) == [
        (1000, 2000, "Ana: Good morning,"),
        (2500, 3000, "Ana: world"),
        (5000, 6000, "Ana: Yes"),
        (8000, 9000, "Bo: Shall we begin?"),
    ]


def test_webvtt_is_what_the_daemon_makes(made: Made) -> None:
    assert export(made, "vtt")[0] == captions(SAID, T)


def test_what_one_speaker_says_is_joined_over_pauses_below_two_seconds(made: Made) -> None:
    assert export(made, "txt")[0].splitlines() == [
        "[0:00:01] Ana: Good morning, world",
        "[0:00:05] Ana: Yes",
        "[0:00:08] Bo: Shall we begin?",
    ]


@pytest.mark.parametrize(("pause_ms", "lines"), [(1999, 1), (2000, 2)])
def test_how_long_a_pause_may_be(pause_ms: int, lines: int) -> None:
    assert len(list(txt([line("one"), line("two", 2000 + pause_ms, None)], T))) == lines


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="there is no ffprobe")
@pytest.mark.parametrize("form", ["srt", "vtt"])
def test_ffprobe_reads_the_same(form: str, made: Made) -> None:
    export(made, form)
    path = made.directory / "export" / f"transcript.{form}"
    options = ["-v", "error", "-show_entries", "packet=pts_time,duration_time", "-of", "json"]
    found = subprocess.run(["ffprobe", *options, str(path)], check=True, capture_output=True)
    packets = [(float(p["pts_time"]), float(p["duration_time"])) for p in json.loads(found.stdout)["packets"]]
    assert packets == [(1, 1), (2.5, 0.5), (5, 1), (8, 1)]


# A part of it


def test_only_what_is_wanted(made: Made) -> None:
    assert cues(export(made, "srt", user_ids=frozenset({"6"}))[0]) == [(8000, 9000, "Bo: Shall we begin?")]
    with pytest.raises(NoSuchParticipant):
        export(made, "srt", user_ids=frozenset({"7"}))
    made.lines("transcript", [*SAID, line("hm", user_id="c-9", user_name=None)])
    assert export(made, "txt", user_ids=frozenset({"c-9"}))[0] == "[0:00:01] c-9: hm\n"


def test_a_span_begins_at_zero_and_cuts_what_reaches_over_its_ends(tmp_path: Path) -> None:
    made = Made(tmp_path / "2026-09-21" / "one")
    made.lines("transcript", SAID)
    made.save(ended_ms=T + 10_000)
    first, last = Moment(1500, is_offset=True), Moment(5500, is_offset=True)
    text, _, _ = export(made, "srt", first=first, last=last)
    assert cues(text) == [(0, 500, "Ana: Good morning,"), (1000, 1500, "Ana: world"), (3500, 4000, "Ana: Yes")]


def test_a_recording_without_a_transcript(tmp_path: Path) -> None:
    made = Made(tmp_path / "2026-09-21" / "one")
    with pytest.raises(ExportError, match="has no transcript"):
        export(made, "srt")
    assert not (made.directory / "export").exists()


def test_damaged_lines_are_left_out_and_said(made: Made) -> None:
    path = made.directory / "transcript.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"world"', b'["world"]') + b"\0\0\n{")
    text, source, _ = export(made, "srt")
    assert [said for _, _, said in cues(text)] == ["Ana: Good morning,", "Ana: Yes", "Bo: Shall we begin?"]
    assert [problem.path for problem in source.problems] == ["transcript.jsonl"]
    path.unlink()
    text, source, _ = export(made, "srt")
    assert (text, [problem.path for problem in source.problems]) == ("", ["transcript.jsonl"])


def test_on_the_command_line(made: Made, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    directory = str(made.save())
    command = ["recordings", "export", directory, "--format"]
    assert main([*command, "txt", "--user-id", "6", "--output", "-"]) == Exit.OK
    assert capfdbinary.readouterr() == (b"[0:00:08] Bo: Shall we begin?\n", b"")
    assert main([*command, "srt", "--json"]) == Exit.OK
    (file,) = json.loads(capfdbinary.readouterr().out)["files"]
    assert (Path(file["path"]).name, file["bytes"]) == ("transcript.srt", Path(file["path"]).stat().st_size)
    assert main([*command, "srt"]) == Exit.FAILED  # it is there already
    assert main([*command, "srt", "--tracks", "--force"]) == Exit.USAGE
    assert main([*command, "chat"]) == Exit.FAILED
    assert b"has no chat" in capfdbinary.readouterr().err


# Whatever is said


@pytest.mark.parametrize(("name", "text"), [("Ana", HOSTILE), (HOSTILE, "hello"), ("", HOSTILE), (HOSTILE, HOSTILE)])
def test_nothing_breaks_out_of_its_line(name: str, text: str) -> None:
    said = [line(text, user_name=name, user_id=None), line("next", 3000, 4000)]
    ((_, _, shown), (start_ms, _, after)) = cues("".join(srt(said, T)))
    assert (start_ms, after) == (3000, "Ana: next")
    assert not re.search(r"[<>{}\u202e\n]", shown)
    assert "an8" in shown
    made = "".join(txt(said, T))
    assert re.findall(r"(?m)^\[[0-9:]+\]", made) == ["[0:00:01]", "[0:00:03]"]
    assert len(made.splitlines()) == 2
    assert "\u202e" not in made
    assert made.count("\u2068") == made.count("\u2069") > 0


times = st.integers(-(10**6), 10**8)


@given(st.lists(st.tuples(st.text(), st.none() | st.text(), times, st.none() | times)))
def test_any_transcript_reads_back(lines: list[tuple[str, str | None, int, int | None]]) -> None:
    said = utterances(line(text, start, end, user_name=name) for text, name, start, end in lines)
    written = "".join(srt(said, T))
    read = cues(written)
    assert len(read) == written.count(" --> ")
    assert [start for start, *_ in read] == sorted(start for start, *_ in read)
    assert all(end > start for start, end, _ in read)
    assert len("".join(txt(said, T)).splitlines()) <= len(read)


words = st.sampled_from(["one", "two", "three"])
steps = st.lists(st.tuples(st.sampled_from([NEW, UPDATE, DELETE]), st.integers(5, 6), st.integers(0, 3), words))


@given(steps, st.booleans())
def test_revisions_in_any_order_against_a_model(steps: list[tuple[int, int, int, str]], has_start: bool) -> None:
    """Each utterance is of one speaker and one second; a new one of the same second stands beside it.

    The first new one is the one meant by revisions that came before it.
    """
    model: dict[tuple[int, int], list[str]] = {}
    early: dict[tuple[int, int], int] = {}
    lines = []
    for attribute, user_id, second, text in steps:
        at_ms = 1000 * second
        start_ms = at_ms if has_start else None
        lines.append(line(text, start_ms, None, attribute=attribute, user_id=user_id, timestamp_ms=T + at_ms))
        key = user_id, second
        if attribute != NEW and key not in model:
            early[key] = attribute
        said = model.setdefault(key, [])
        if attribute == NEW and key in early:
            if early.pop(key) == UPDATE and not said:
                said.append(text)
        elif attribute != NEW and early.get(key) == DELETE:
            pass
        elif attribute == DELETE:
            early |= {key: DELETE} if key in early else {}
            said.clear()
        elif attribute == UPDATE and said:
            said[0] = text
        else:
            said.append(text)
    expected = sorted((1000 * second, text) for (_, second), texts in model.items() for text in texts)
    found = sorted((start, said.removeprefix("Ana: ")) for start, _, said in cues("".join(srt(utterances(lines), T))))
    assert found == expected
