"""One film of a whole recording: sound, pictures, subtitles and chapters, each at its time, as PyAV reads it back."""

import json
import math
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from rtmsd.ctl.errors import Exit
from rtmsd.ctl.main import main
from rtmsd.export.film.chapters import chapters
from rtmsd.protocol.languages import TranscriptLanguage, iso_639_2, language_tag
from rtmsd.recording.manifest.schema import GapEntry, ParticipantEntry, PauseEntry
from tests.export.filmed import SIZE, Sent, add_pictures, h264, number_of, still
from tests.export.recordings import STARTED_MS, Made, revoke

Capture = pytest.CaptureFixture[str]
RATE_HZ = 16_000


def tone(hz: float, seconds: float) -> bytes:
    times = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    return (8000 * np.sin(2 * math.pi * hz * times)).astype("<i2").tobytes()


def said(user_id: int, text: str, start_ms: int, end_ms: int) -> dict[str, Any]:
    return {
        "user_id": user_id,
        "user_name": {5: "Ana", 6: "Bo <b>"}[user_id],
        "text": text,
        "start_ms": STARTED_MS + start_ms,
        "end_ms": STARTED_MS + end_ms,
        "timestamp_ms": STARTED_MS + end_ms,
        "attribute": None,
        "language_tag": "de",
    }


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """Ana is heard from 1 s on, Bo from 2 s on; Ana is seen from 1.5 s on, and Bo shares from 3 s on."""
    made = Made(tmp_path / "one")
    made.people = [
        ParticipantEntry(5, user_name="Ana", joined_ms=STARTED_MS + 1000),
        ParticipantEntry(6, user_name="Bo <b>", joined_ms=STARTED_MS + 1000, left_ms=STARTED_MS + 7000),
    ]
    made.audio(5, 1000, tone(440, 8))
    made.audio(6, 2000, tone(1000, 6))
    add_pictures(made, "video/5.h264", [Sent(1500 + 33 * n, unit) for n, unit in enumerate(h264(range(30)))])
    add_pictures(made, "share/6.mjpeg", [Sent(3000 + 1000 * n, still("JPEG", 100 + n)) for n in range(3)])
    made.lines("transcript", [said(5, "eins", 1200, 1900), said(6, "zwei", 2500, 3777)])
    event = {"at_ms": 1, "kind": "sharing_start", "zoom_ms": STARTED_MS + 3000, "user_id": 6}
    made.lines("events", [event, {"at_ms": 2, "kind": "sharing_stop", "zoom_ms": STARTED_MS + 6000}])
    made.gaps = [GapEntry("audio", None, STARTED_MS + 4000, STARTED_MS + 8300, "media_reconnect")]
    made.pauses = [PauseEntry(STARTED_MS + 8500, STARTED_MS + 8700)]
    made.save()
    return made


def export(made: Made, *args: str) -> int:
    return main(["recordings", "export", str(made.directory), "--format", "mkv", *args])


def frames(path: Path, stream: int) -> list[tuple[int, Any]]:
    with av.open(str(path)) as film:
        found = film.streams[stream]
        return [(_ms(frame.pts, found.time_base), frame) for frame in film.decode(found)]


def _ms(pts: int | None, time_base: Fraction | None) -> int:
    assert pts is not None
    assert time_base is not None
    return round(pts * time_base * 1000)


def loudness(path: Path, stream: int, hz: float, from_s: float, to_s: float) -> float:
    """Return the amplitude of a tone between two times of the film."""
    samples = np.concatenate([frame.to_ndarray().mean(axis=0) for _, frame in frames(path, stream)])
    part = samples[int(from_s * 48_000) : int(to_s * 48_000)]
    times = np.arange(len(part)) / 48_000
    return float(2 * abs((part * np.exp(-2j * math.pi * hz * times)).mean()))


def test_all_is_there_at_its_time(made: Made) -> None:
    assert export(made) == Exit.OK
    path = made.directory / "export/session.mkv"
    with av.open(str(path)) as film:
        kinds = [(stream.type, stream.metadata.get("title")) for stream in film.streams]
        assert kinds == [("audio", "mix"), ("video", "video: Ana"), ("video", "share: Bo <b>"), ("subtitle", None)]
        assert film.metadata["RTMS_START_MS"] == str(STARTED_MS + 1000)
        assert film.streams[3].metadata["language"] == "ger"
        marks = [(_ms(each["start"], each["time_base"]), each["metadata"]["title"]) for each in film.chapters()]
        cues = [
            (_ms(packet.pts, packet.time_base), packet.duration, bytes(packet).decode())
            for packet in film.demux(film.streams[3])
            if packet.size
        ]
    assert marks == [
        (0, "Ana joins; Bo <b> joins"),
        (2000, "share of Bo <b>"),
        (3000, "gap 4.3 s: media_reconnect"),
        (5000, "end of share"),
        (6000, "Bo <b> leaves"),
        (7500, "pause 0.2 s"),
    ]
    assert cues == [(200, 700, "Ana: eins"), (1500, 1277, "Bo \uff1cb\uff1e: zwei")]
    seen = frames(path, 1)
    assert [(ms, number_of(frame.to_ndarray(format="gray"))) for ms, frame in seen] == [
        (500 + 33 * n, n) for n in range(30)
    ]
    assert {(frame.width, frame.height) for _, frame in seen} == {SIZE}
    shared = [(ms, number_of(frame.to_ndarray(format="gray"))) for ms, frame in frames(path, 2)]
    assert shared == [(2000, 100), (3000, 101), (4000, 102)]
    assert loudness(path, 0, 440, 0.2, 0.8) > 0.15
    assert loudness(path, 0, 1000, 0.2, 0.8) < 0.01
    assert loudness(path, 0, 1000, 1.2, 6.8) > 0.15


def test_a_track_for_each_speaker(made: Made) -> None:
    assert export(made, "--tracks") == Exit.OK
    path = made.directory / "export/session.mkv"
    with av.open(str(path)) as film:
        assert [stream.metadata["title"] for stream in film.streams.audio] == ["Ana", "Bo <b>"]
    assert loudness(path, 0, 440, 0.2, 7.8) > 0.15
    assert loudness(path, 0, 1000, 1.2, 6.8) < 0.01
    assert loudness(path, 1, 1000, 1.2, 6.8) > 0.15
    assert loudness(path, 1, 1000, 0, 0.8) < 0.01


def test_a_part(made: Made, capsys: Capture) -> None:
    assert export(made, "--from", "0:00:02", "--to", "0:00:04.500", "--json") == Exit.OK
    [file] = json.loads(capsys.readouterr().out)["files"]
    assert file["duration_ms"] == 2500
    path = Path(file["path"])
    assert [number_of(frame.to_ndarray(format="gray")) for _, frame in frames(path, 1)] == [*range(20, 30)]
    assert frames(path, 1)[0][0] == 1500 + 33 * 20 - 2000
    assert [ms for ms, _ in frames(path, 2)] == [1000, 2000]
    assert 2450 <= frames(path, 0)[-1][0] + 20 <= 2550


def test_sound_or_pictures_alone(tmp_path: Path) -> None:
    heard, seen, nothing = (Made(tmp_path / name) for name in ("heard", "seen", "nothing"))
    heard.audio(5, 0, tone(440, 1))
    add_pictures(seen, "video/5.h264", [Sent(400 + 33 * n, unit) for n, unit in enumerate(h264(range(5)))])
    for made in (heard, seen, nothing):
        made.save()
    assert [export(made) for made in (heard, seen, nothing)] == [Exit.OK, Exit.OK, Exit.FAILED]
    assert [ms for ms, _ in frames(seen.directory / "export/session.mkv", 0)] == [33 * n for n in range(5)]


def test_one_participant(made: Made, capsys: Capture) -> None:
    made.gaps.append(GapEntry("audio", 6, STARTED_MS + 3500, STARTED_MS + 3700, "damaged"))
    add_pictures(made, "share/5.pngs", [Sent(4000, still("PNG", 7))])
    made.save()
    assert export(made, "--user-id", "5") == Exit.OK
    assert "PNG images left out" in capsys.readouterr().err
    with av.open(str(made.directory / "export/session.mkv")) as film:
        assert [stream.type for stream in film.streams] == ["audio", "video", "subtitle"]
        titles = [each["metadata"]["title"] for each in film.chapters()]
    assert [title for title in titles if "gap" in title] == ["gap 4.3 s: media_reconnect"]


def test_damaged_pictures_leave_the_rest(made: Made, capsys: Capture) -> None:
    (made.directory / "video/5.h264").write_bytes(b"")
    assert export(made) == Exit.FAILED
    assert f"{made.directory}/video/5.h264: 0 bytes" in capsys.readouterr().err
    assert len(frames(made.directory / "export/session.mkv", 1)) == 3


def test_a_full_disk_leaves_nothing(made: Made) -> None:
    code = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000));"
    code += "from rtmsd.ctl.main import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "recordings", "export", str(made.directory), "--format", "mkv"]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    assert child.returncode == Exit.FAILED
    assert child.stderr == f"rtmsctl: {made.directory}/export/session.mkv: File too large\n"
    assert not (made.directory / "export").exists()


def test_a_revocation_meanwhile(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    def revoked(*args: Any) -> Any:
        revoke(made.directory)
        return chapters(*args)

    monkeypatch.setattr("rtmsd.export.film.session.chapters", revoked)
    assert export(made) == Exit.REFUSED
    assert [path.name for path in made.directory.iterdir()] == ["stream.json"]


def test_every_language_has_a_code() -> None:
    tags = [language_tag(language) for language in TranscriptLanguage if language >= 0]
    assert all(iso_639_2(tag) != "und" for tag in tags)
    assert (iso_639_2("zh-Hans"), iso_639_2(None)) == ("chi", "und")
