"""The page of a recording: what is in the file."""

import base64
import json
import math
import re
import struct
from array import array
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmsd.export.audio.mixing import Sound
from rtmsd.export.errors import ExportError, WrongRequest
from rtmsd.export.page import peaks
from rtmsd.export.page.exporter import export
from rtmsd.export.report import Report
from rtmsd.export.request import Request
from rtmsd.export.source import Source
from rtmsd.export.span import read_moment
from rtmsd.export.text.plain import one_line
from rtmsd.recording.manifest.schema import ElsewhereEntry, GapEntry, PauseEntry
from tests.export.recordings import STARTED_MS, Made

HOSTILE = "</script><script>alert(1)</script>\u202e<b>"


def tone(seconds: float, level: int = 20_000, rate_hz: int = 16_000) -> bytes:
    return array("h", (round(level * math.sin(n / 5)) for n in range(round(seconds * rate_hz)))).tobytes()


def line(user_id: int | str | None, name: str | None, text: str, offset_ms: int, **more: Any) -> dict[str, Any]:
    begins_ms = STARTED_MS + offset_ms
    known = {"user_id": user_id, "user_name": name, "text": text, "start_ms": begins_ms, "end_ms": begins_ms + 900}
    return known | {"timestamp_ms": begins_ms + 950, "language": 9, "attribute": 1, "received_ms": 1} | more


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """A recording of three seconds: Ana speaks in the first, Bo in the third."""
    made = Made(tmp_path / "one")
    made.person(1, "Ana")
    made.person(2, HOSTILE)
    made.audio(1, 0, tone(1) + bytes(64_000))
    made.audio(2, 2000, tone(1))
    made.lines("transcript", [line(1, "Ana", "Hello", 0), line(2, HOSTILE, HOSTILE + "\ud83d", 2000)])
    events = [
        {"at_ms": 7000, "kind": "participant_join", "zoom_ms": STARTED_MS + 100, "participants": [{"user_id": 1}]},
        {"at_ms": 8000, "kind": "stream_state", "zoom_ms": None, "state": "active"},
    ]
    made.lines("events", events)
    made.gaps.append(GapEntry("audio", 2, STARTED_MS + 500, STARTED_MS + 1500, "dropped"))
    made.gaps.append(GapEntry("transcript", None, STARTED_MS + 600, STARTED_MS + 700, "media_reconnect"))
    made.pauses.append(PauseEntry(STARTED_MS + 1500, STARTED_MS + 1900))
    return made


def page_of(made: Made, ended_ms: int | None = None, **options: Any) -> tuple[str, dict[str, Any], Report]:
    """Return the page, the data in it, and the report."""
    source = Source(made.save(ended_ms=ended_ms))
    report = Report(source)
    export(source, Request(format="page", **options), report)
    text = (source.directory / "export/page.html").read_text()
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return text, json.loads(found[1]), report


def said(data: dict[str, Any]) -> list[tuple[float, str, str]]:
    """Return the utterances of the list, gaps left out: when, who and what."""
    return [(at_s, data["speakers"][who], text) for at_s, who, text in data["lines"] if who is not None]


def test_lanes_have_the_loudest_sample_of_each_tenth_of_a_second(made: Made) -> None:
    _, data, _ = page_of(made)
    ana, bo = ((lane["name"], lane["from_s"], base64.b64decode(lane["peaks"])) for lane in data["lanes"])
    loud = round(255 * math.sqrt((20_000 >> 8) / 127))
    assert ana == ("Ana", 0, bytes([loud] * 10 + [0] * 20))
    assert bo == (HOSTILE, 2, bytes([loud] * 10))
    assert [lane["spoken_s"] for lane in data["lanes"]] == [1, 1]
    assert (data["from_s"], data["to_s"]) == (0, 3)


def test_gaps_and_pauses_are_shades_over_the_lanes_they_concern(made: Made) -> None:
    _, data, _ = page_of(made)
    assert [(shade["from_s"], shade["to_s"], shade["text"], shade["lanes"]) for shade in data["shades"]] == [
        (0.5, 1.5, "dropped", [1]),
        (0.6, 0.7, "media_reconnect", []),
        (1.5, 1.9, "paused", [0, 1]),
    ]
    assert data["gaps"][1] == [0.6, "0.1 s", "media_reconnect", "transcript"]


def test_what_another_node_has_is_shown_as_no_gap(made: Made) -> None:
    made.elsewhere.append(ElsewhereEntry("node-b", STARTED_MS + 1900, STARTED_MS + 2900))
    made.save()
    text, data, _ = page_of(made)
    shade = data["shades"][-1]
    assert (shade["from_s"], shade["to_s"], shade["text"], shade["pause"]) == (1.9, 2.9, "on node node-b", True)
    assert data["gaps"][-1] == [1.9, "1.0 s", "elsewhere, on node node-b", "all"]
    assert [line for _, _, line in data["lines"] if "elsewhere" in line] == ["elsewhere 1.0 s: on node node-b (all)"]
    assert "Not here: 1.0 s, recorded by other nodes" in text
    assert "Gaps: 2, of 1.0 s in all" in text


def test_list_has_utterances_and_gaps_in_the_order_of_time(made: Made) -> None:
    _, data, _ = page_of(made)
    assert data["speakers"] == ["Ana", HOSTILE]
    assert [(at_s, who) for at_s, who, _ in data["lines"]] == [(0, 0), (0.5, None), (0.6, None), (1.5, None), (2, 1)]
    assert data["lines"][1][2] == f"gap 1.0 s: dropped (audio, {one_line(HOSTILE)})"


def test_events_of_ours_are_put_by_the_last_time_of_zooms(made: Made) -> None:
    _, data, _ = page_of(made)
    assert data["events"] == [[0.1, "participant_join", "Ana", ""], [1.1, "stream_state", "", "state active"]]


def test_nothing_of_a_recording_is_markup(made: Made) -> None:
    text, data, _ = page_of(made, audio="none")
    assert data["lanes"][1]["name"] == HOSTILE
    assert data["lines"][-1][2] == HOSTILE + "\ud83d"
    markup = re.sub(r"<(script|style)\b.*?</\1>", "", text, flags=re.DOTALL)
    assert "alert" not in text.split('id="data">')[0].replace("&lt;/script&gt;&lt;script&gt;alert", "")
    assert "<b>" not in markup
    assert text.count("</script>") == 2


def test_script_and_style_are_those_of_the_policy_and_short(made: Made) -> None:
    text, _, _ = page_of(made, audio="none")
    script = text.rsplit("<script>", 1)[1].split("</script>")[0]
    assert len(script.encode()) <= 20_000
    assert "innerHTML" not in script
    assert "default-src 'none'" in text
    assert "unsafe-inline" not in text


def test_only_a_span_is_shown(made: Made) -> None:
    _, data, report = page_of(made, first=read_moment("0:00:01.000"), last=read_moment("0:00:02.500"))
    assert (data["from_s"], data["to_s"], report.duration_ms) == (1, 2.5, 1500)
    assert [(lane["from_s"], len(base64.b64decode(lane["peaks"]))) for lane in data["lanes"]] == [(1, 15), (1, 15)]
    assert [who for _, who, _ in said(data)] == [HOSTILE]


def test_only_one_participant_is_shown(made: Made) -> None:
    _, data, _ = page_of(made, user_ids=frozenset({"1"}))
    assert [lane["name"] for lane in data["lanes"]] == ["Ana"]
    assert [who for _, who, _ in said(data)] == ["Ana"]


def test_nothing_of_others_is_in_the_page_of_one_participant(made: Made) -> None:
    chat = [
        {"timestamp_ms": STARTED_MS + 10 * n, "user_id": n, "user_name": name, "text": name}
        for n, name in ((1, "Ana"), (2, HOSTILE))
    ]
    made.lines("chat", chat)
    people = [{"user_id": 1, "user_name": "Ana"}, {"user_id": 2, "user_name": "Bo"}]
    events = [
        {"at_ms": 1, "kind": "participant_join", "zoom_ms": STARTED_MS, "participants": people},
        {"at_ms": 2, "kind": "active_speaker", "zoom_ms": STARTED_MS, "user_id": 2, "user_name": "Bo"},
        {"at_ms": 3, "kind": "stream_state", "state": "active"},
    ]
    made.lines("events", events)
    text, data, _ = page_of(made, user_ids=frozenset({"1"}), audio="none")
    assert [who for _, who, _ in data["chat"]] == ["Ana"]
    assert [(kind, who) for _, kind, who, _ in data["events"]] == [("participant_join", "Ana"), ("stream_state", "")]
    assert [row[2] for row in data["gaps"]] == ["media_reconnect", "paused"]
    assert "Bo" not in text.split('id="data">')[1].split("</script>")[0]
    assert "Gaps: 1, of 0.1 s in all" in text


def test_who_is_in_the_transcript_alone_can_be_asked_for(made: Made) -> None:
    made.lines("transcript", [line("x-9", None, "Hello", 1000)])
    _, data, _ = page_of(made, user_ids=frozenset({"x-9"}))
    assert [lane["name"] for lane in data["lanes"]] == ["x-9"]
    assert [text for *_, text in said(data)] == ["Hello"]


def test_times_that_cannot_be_leave_the_axis_alone(made: Made) -> None:
    year_1970, year_2100, never = -STARTED_MS, 4_102_444_800_000 - STARTED_MS, 10**18
    offsets = (year_1970, 0, 1000, year_2100, never)
    lines = [line(9, "Nine", str(offset), offset) for offset in offsets]
    lines.append(line(9, "Nine", "backwards", 2000, end_ms=5))
    made.lines("transcript", lines)
    times = (STARTED_MS + 100, 10**18, None)
    events = [{"at_ms": 1000 * n, "kind": str(n), "zoom_ms": time_ms} for n, time_ms in enumerate(times)]
    made.lines("events", events)
    made.gaps.append(GapEntry("audio", 1, 0, STARTED_MS + 100, "corrupt"))
    _, data, report = page_of(made)
    assert (data["from_s"], data["to_s"], report.duration_ms) == (0, 3, 3000)
    assert [(at_s, text) for at_s, _, text in said(data)] == [
        *((at_s, str(offset)) for at_s, offset in zip((0, 0, 1), offsets[:3], strict=True)),
        (2, "backwards"),
        *((3, str(offset)) for offset in offsets[3:]),
    ]
    assert data["lanes"][-1]["name"] == "9"
    assert base64.b64decode(data["lanes"][-1]["peaks"]).count(b"d") == 9 + 9 + 1
    assert [(at_s, kind) for at_s, kind, *_ in data["events"]] == [(0.1, "0"), (1.1, "1"), (2.1, "2")]
    assert data["shades"][0]["from_s"] == 0


def test_what_began_before_a_span_and_reaches_into_it_is_shown(made: Made) -> None:
    _, data, _ = page_of(made, first=read_moment("0:00:00.500"), last=read_moment("0:00:02.000"))
    assert said(data) == [(0.5, "Ana", "Hello")]


def test_gaps_of_several_media_at_once_are_missing_time_once(made: Made) -> None:
    text, _, _ = page_of(made)
    assert "Gaps: 2, of 1.0 s in all" in text


def test_progress_rises(made: Made) -> None:
    source = Source(made.save())
    shown: list[float] = []
    export(source, Request(format="page"), Report(source, shown.append))
    assert shown == sorted(shown)
    assert shown[-1] == 1


def test_speakers_without_audio_have_lanes_of_their_transcript(tmp_path: Path) -> None:
    made = Made(tmp_path / "one")
    made.audio(0, 0, tone(3))
    made.lines("transcript", [line(1, "Ana", "Hello", 1000), line(None, None, "who?", 2000)])
    _, data, _ = page_of(made)
    assert [lane["name"] for lane in data["lanes"]] == ["everybody", "1"]
    written = base64.b64decode(data["lanes"][1]["peaks"])
    assert (data["lanes"][1]["from_s"], written.strip(b"\0")) == (1, bytes([100] * 9))


def test_a_recording_of_nothing_makes_a_page(tmp_path: Path) -> None:
    text, data, report = page_of(Made(tmp_path / "one"))
    assert data["lanes"] == data["lines"] == data["gaps"] == []
    assert "<audio" not in text
    assert report.notes[0].startswith("Without sound")


def test_key_images_are_marks(made: Made) -> None:
    entry = made.files[0].__class__(
        path="video/1.h264", media="video", user_id=1, start_ms=STARTED_MS, duration_ms=2000, bytes=3,
        index="video/1.h264.jsonl",
    )  # fmt: skip
    made.files.append(entry)
    (made.directory / "video").mkdir()
    (made.directory / "video/1.h264").write_bytes(b"abc")
    index = [{"offset": n, "length": 1, "timestamp_ms": STARTED_MS + 700 * n, "key": n != 1} for n in range(3)]
    (made.directory / "video/1.h264.jsonl").write_text("".join(json.dumps(each) + "\n" for each in index))
    _, data, _ = page_of(made)
    assert data["pictures"] == [{"name": "video: Ana", "count": 2, "at_s": [0, 1.4]}]


def test_a_page_of_an_hour_is_short(tmp_path: Path) -> None:
    made = Made(tmp_path / "one")
    names = [f"Participant {user_id}" for user_id in range(5)]
    made.lines(
        "transcript", [line(n % 5, names[n % 5], "about seventy characters " * 3, 3600 * n) for n in range(1000)]
    )
    event = {"kind": "active_speaker", "zoom_ms": None}
    made.lines("events", [{"at_ms": 6000 * n, **event, "user_id": n % 5} for n in range(600)])
    text, data, _ = page_of(made, ended_ms=STARTED_MS + 3_600_000)
    assert [len(data[key]) for key in ("lanes", "lines", "events")] == [5, 1000, 600]
    assert min(len(base64.b64decode(lane["peaks"])) for lane in data["lanes"]) > 35_800
    assert len(text.encode()) <= 400_000


# Sound


def test_sound_is_in_the_page(made: Made) -> None:
    text, data, report = page_of(made)
    found = re.search(r'src="data:audio/ogg;base64,([^"]+)"', text)
    assert found is not None
    assert base64.b64decode(found[1])[:4] == b"OggS"
    assert report.notes == ["The sound is in this page (0.0 MiB)."]
    assert data["audio_from_s"] == 0


def test_without_the_extra_sound_is_beside_the_page(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtmsd.export.page.mix.have", lambda _: None)
    text, _, report = page_of(made)
    assert 'src="page.wav"' in text
    assert [Path(file["path"]).name for file in report.files] == ["page.wav", "page.html"]
    assert (made.directory / "export/page.wav").stat().st_size > 3 * 32_000


def test_sound_beside_the_page_is_of_those_in_the_page(made: Made) -> None:
    """Not that of an earlier export, of others, which lasts as long."""
    from rtmsd.export.audio.exporter import export as export_audio  # noqa: PLC0415

    source = Source(made.save())
    export_audio(source, Request(format="wav"), Report(source))
    text, _, report = page_of(made, audio="link", user_ids=frozenset({"1"}))
    assert 'src="page.wav"' in text
    assert [Path(file["path"]).name for file in report.files] == ["page.wav", "page.html"]


def test_sound_beside_a_page_with_a_name_of_its_own_is_refused(made: Made, tmp_path: Path) -> None:
    source = Source(made.save())
    with pytest.raises(ExportError, match="beside"):
        export(source, Request(format="page", audio="link", output=str(tmp_path / "x.html")), Report(source))
    assert not (tmp_path / "x.html").exists()


def test_a_page_is_not_for_standard_output(made: Made) -> None:
    source = Source(made.save())
    with pytest.raises(WrongRequest, match="--output -"):
        export(source, Request(format="page", output="-"), Report(source))


# Peaks


def sound(rate_hz: int, channels: int, blocks: list[bytes | None], silent: int = 0) -> Sound:
    pieces = [(silent if block is None else len(block) // 2 // channels, block) for block in blocks]
    length = sum(samples for samples, _ in pieces)
    return Sound(rate_hz=rate_hz, channels=channels, length=length, start_ms=0, title="", blocks=iter(pieces))


@pytest.mark.parametrize("pieces", [[40], [3, 7, 30], [17] * 5])
def test_peaks_do_not_depend_on_how_the_sound_is_cut(pieces: list[int]) -> None:
    whole = tone(0.004, rate_hz=10_000) + bytes(20) + tone(0.005, level=300, rate_hz=10_000)
    expected = peaks.peaks_of(sound(100, 1, [whole]))
    cut, at = [], 0
    for size in pieces:
        cut.append(whole[at : at + 2 * size])
        at += 2 * size
    assert peaks.peaks_of(sound(100, 1, [*cut, whole[at:]])) == expected


def test_the_loudest_sample_that_can_be_is_the_highest_peak() -> None:
    samples = [struct.pack("<h", -32_768) + bytes(198), struct.pack("<h", 32_767) + bytes(198), None]
    assert peaks.peaks_of(sound(1000, 1, samples, silent=150)) == bytes([255, 255, 0, 0])


@given(st.lists(st.integers(-32_768, 32_767), min_size=1, max_size=60))
def test_a_peak_is_of_the_loudest_sample(samples: list[int]) -> None:
    loudest = max(sample if sample >= 0 else -1 - sample for sample in samples)
    expected = round(255 * math.sqrt((loudest >> 8) / 127))
    assert peaks.peaks_of(sound(1000, 1, [array("h", samples).tobytes()])) == bytes([expected])
