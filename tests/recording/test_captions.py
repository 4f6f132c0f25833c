"""Captions, read back by a reader that shares nothing with what writes them."""

import html
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmsd.recording.media.captions import captions

T = 1_790_000_000_000
NEW, UPDATE, DELETE = 1, 2, 3
TIMING = re.compile(r"(\d{2,}):(\d\d):(\d\d)\.(\d{3}) --> (\d{2,}):(\d\d):(\d\d)\.(\d{3})")


def line(text: str, start_ms: int | None = 1000, end_ms: int | None = 2000, **more: Any) -> dict[str, Any]:
    times = {name: None if ms is None else T + ms for name, ms in (("start_ms", start_ms), ("end_ms", end_ms))}
    base = {"user_id": 5, "user_name": "Ana", "text": text, "attribute": None, "timestamp_ms": T + 3000}
    return {**base, **times, **more}


def read_back(text: str) -> list[tuple[int, int, str, str]]:
    """Return start, end, speaker and text of each cue, as the WebVTT specification's parser would."""
    assert "\0" not in text
    head, *blocks = re.split(r"\n{2,}", re.sub(r"\r\n?", "\n", text).strip("\n"))
    assert head == "WEBVTT"
    cues = []
    for block in blocks:
        timing, *body = block.split("\n")
        found = TIMING.fullmatch(timing)
        assert found is not None, timing
        numbers = [int(number) for number in found.groups()]
        start_ms, end_ms = (((h * 60 + m) * 60 + s) * 1000 + ms for h, m, s, ms in (numbers[:4], numbers[4:]))
        assert end_ms > start_ms
        assert len(body) == 1
        assert "-->" not in body[0]
        voice = re.fullmatch(r"<v ([^<>]+)>([^<>]+)", body[0])
        assert voice is not None, body
        cues.append((start_ms, end_ms, html.unescape(voice[1]), html.unescape(voice[2])))
    return cues


def test_nothing_said_breaks_out_of_its_cue() -> None:
    said = "a\0b\x1b[31mc\r\n\r\n00:00:01.000 --> 00:00:09.000\n\nNOTE <v Eve>&lt;\u2028d\u0085e"
    (cue,) = read_back(captions([line(said, user_name="A<n>a\n\0--> x")], T))
    assert cue == (1000, 2000, "A<n>a --> x", "a b [31mc 00:00:01.000 --> 00:00:09.000 NOTE <v Eve>&lt; d e")


@given(
    st.lists(st.tuples(st.text(), st.none() | st.text(), st.integers(-(10**6), 10**8), st.integers(-(10**6), 10**8)))
)
def test_any_transcript_reads_back(lines: list[tuple[str, str | None, int, int]]) -> None:
    made = [line(text, start, end, user_name=name) for text, name, start, end in lines]
    starts = [start for start, *_ in read_back(captions(made, T))]
    assert starts == sorted(starts)
    assert len(starts) <= len(lines)


@pytest.mark.parametrize(("start_ms", "end_ms"), [(-5000, -4000), (-5000, None), (0, 0), (500, 100), (-100, 300)])
def test_a_cue_ends_after_it_starts(start_ms: int, end_ms: int | None) -> None:
    assert len(read_back(captions([line("early", start_ms, end_ms)], T))) == 1


@pytest.mark.parametrize("text", ["", "  \n", "\0\x1b"])
def test_no_text_is_no_cue(text: str) -> None:
    assert read_back(captions([line(text)], T)) == []


@pytest.mark.parametrize(
    ("user_id", "user_name", "speaker"),
    [(0, None, "mixed"), (0, "Room", "Room"), (7, None, "7"), ("c-1", "\0", "c-1"), (7, "  ", "7")],
)
def test_who_speaks(user_id: int | str, user_name: str | None, speaker: str) -> None:
    ((_, _, said_by, _),) = read_back(captions([line("x", user_id=user_id, user_name=user_name)], T))
    assert said_by == speaker


@pytest.mark.parametrize("first", [1000, None])
@pytest.mark.parametrize("revision", [1000, None])
def test_a_revision_finds_its_utterance_by_start_or_timestamp(first: int | None, revision: int | None) -> None:
    lines = [line("wrnog", first, None, attribute=NEW), line("kept", 9000, None, timestamp_ms=T + 9000)]
    texts = [text for *_, text in read_back(captions([*lines, line("right", revision, None, attribute=UPDATE)], T))]
    assert texts == ["right", "kept"]
    texts = [text for *_, text in read_back(captions([*lines, line("", revision, None, attribute=DELETE)], T))]
    assert texts == ["kept"]


def test_an_update_with_a_new_timestamp_can_be_deleted_by_either() -> None:
    update = line("right", timestamp_ms=T + 4000, attribute=UPDATE)
    for timestamp_ms in (T + 3000, T + 4000):
        delete = line("right", None, None, timestamp_ms=timestamp_ms, attribute=DELETE)
        assert read_back(captions([line("wrong", attribute=NEW), update, delete], T)) == []


@pytest.mark.parametrize("start_ms", [1000, None])
def test_a_revision_that_comes_first_waits_for_its_utterance(start_ms: int | None) -> None:
    new = line("wrong", start_ms, None, attribute=NEW)
    update, delete = (line(text, start_ms, None, attribute=each) for text, each in (("right", UPDATE), ("", DELETE)))
    again = line("again", start_ms, None, attribute=NEW)
    for lines, texts in (
        ([update, new], ["right"]),
        ([delete, new], []),
        ([update, delete, new], []),
        ([delete, update, new], []),
        ([delete, delete, new, again], ["again"]),
        ([update, new, again], ["right", "again"]),
        ([new, delete, delete, again], ["again"]),
    ):
        assert [text for *_, text in read_back(captions(lines, T))] == texts


def test_what_another_said_at_that_time_stays() -> None:
    delete = line("", None, None, attribute=DELETE, user_id=6)
    assert len(read_back(captions([line("mine"), delete], T))) == 1


def test_revised_captions_stand_in_place_of_what_they_revise() -> None:
    def line(text: str, start_ms: int, attribute: int | None) -> dict[str, object]:
        times = {"start_ms": T + start_ms, "end_ms": T + start_ms + 1000, "timestamp_ms": T + 9000}
        return {"user_id": 5, "user_name": "Ana", "text": text, "attribute": attribute, **times}

    lines = [line("late", 5000, 1), line("wrnog", 1000, 1), line("gone", 2000, 1), line("wrong", 1000, 2)]
    text = captions([*lines, line("", 2000, 3)], T)
    assert [part for part in text.splitlines() if part.startswith("<v")] == ["<v Ana>wrong", "<v Ana>late"]
    assert "00:00:01.000 --> 00:00:02.000" in text
