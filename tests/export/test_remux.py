"""Films of recorded pictures: every frame, at its time, in the size it had, as PyAV reads them back."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtmsd.ctl.errors import Exit
from rtmsd.ctl.main import main
from rtmsd.export import extra
from rtmsd.export.film.access_units import join_pictures
from rtmsd.export.film.container import film
from rtmsd.export.film.pictures import Picture
from rtmsd.recording.media.images.h264 import START_CODE, read_h264
from tests.export.filmed import SIZE, Sent, add_pictures, h264, see, still
from tests.export.recordings import STARTED_MS, Made, revoke

Capture = pytest.CaptureFixture[str]
SMALL = (160, 96)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    made = Made(tmp_path / "one")
    made.person(5, "Ana")
    return made


def remux(made: Made, *args: str) -> int:
    return main(["recordings", "remux", str(made.directory), *args])


def exported(made: Made) -> list[str]:
    return sorted(path.name for path in (made.directory / "export").iterdir())


def jittered(units: list[bytes], first_ms: int = 0, connection: int = 1) -> list[Sent]:
    """Frames at about 30 Hz, none exactly."""
    return [Sent(first_ms + 33 * n + (7 * n) % 5, unit, connection) for n, unit in enumerate(units)]


@pytest.mark.parametrize("form", ["mkv", "mp4"])
def test_each_segment_becomes_a_film_from_its_first_key_frame_on(made: Made, form: str, capsys: Capture) -> None:
    first, second = h264(range(40)), h264(range(100, 120))
    sent = [*jittered(first[3:]), *jittered(second, 5000, connection=2)]  # a key frame is the 7th of these
    small = jittered(h264(range(200, 215), SMALL), 9000, connection=2)
    add_pictures(made, "video/5.h264", [*sent, *small])
    made.save()
    assert remux(made, "--format", form) == Exit.OK
    assert exported(made) == [f"video-5-{n}.{form}" for n in (1, 2, 3)]
    films = [see(made.directory / f"export/video-5-{n}.{form}") for n in (1, 2, 3)]
    assert [film.numbers for film in films] == [[*range(10, 40)], [*range(100, 120)], [*range(200, 215)]]
    assert [film.size for film in films] == [SIZE, SIZE, SMALL]
    groups = sent[7:37], sent[37:], small
    for seen, group in zip(films, groups, strict=True):
        assert seen.codec == "h264"
        assert seen.times_ms == [message.offset_ms - group[0].offset_ms for message in group]
        key = "RTMS_START_MS" if "RTMS_START_MS" in seen.metadata else "rtms_start_ms"
        assert int(seen.metadata[key]) == STARTED_MS + group[0].offset_ms
        assert seen.metadata["title"] == "Ana"
    assert f"video-5-1.{form}: 7 pictures that need a key frame before them left out" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["mkv", "mp4"])
def test_images_of_two_sizes(made: Made, form: str) -> None:
    messages = [Sent(200 * n, still("JPEG", n, SIZE if n < 5 else SMALL)) for n in range(8)]
    add_pictures(made, "share/5.mjpeg", messages)
    made.save()
    assert remux(made, "--format", form) == Exit.OK
    first, second = (see(made.directory / f"export/share-5-{n}.{form}") for n in (1, 2))
    assert (first.codec, first.size, first.numbers) == ("mjpeg", SIZE, [0, 1, 2, 3, 4])
    assert (second.size, second.numbers, second.times_ms) == (SMALL, [5, 6, 7], [0, 200, 400])


def test_recordings_of_before_have_no_segments(made: Made) -> None:
    messages = [*jittered(h264(range(12))), *jittered(h264(range(50, 62), SMALL), 5000)]
    add_pictures(made, "video/5.h264", messages, has_segments=False)
    made.save()
    assert remux(made) == Exit.OK
    assert see(made.directory / "export/video-5-1.mkv").numbers == [*range(12)]
    assert see(made.directory / "export/video-5-2.mkv").numbers == [*range(50, 62)]


def test_pictures_may_come_in_parts(made: Made) -> None:
    """Parameter sets in a message of their own, and each slice in one."""
    units = h264(range(20), params="slice-max-mbs=40")
    parts = [
        Sent(33 * n, START_CODE + part.rstrip(b"\0"))
        for n, unit in enumerate(units)
        for part in unit.split(START_CODE)
        if part.rstrip(b"\0")
    ]
    assert len(parts) > 80
    add_pictures(made, "video/5.h264", parts)
    made.save()
    assert remux(made) == Exit.OK
    seen = see(made.directory / "export/video-5-1.mkv")
    assert (seen.numbers, seen.times_ms) == ([*range(20)], [33 * n for n in range(20)])


UNITS = [unit for params in ("", "slice-max-mbs=60") for unit in h264(range(12), every=5, params=params)]


@settings(max_examples=50)
@given(st.data())
def test_joined_parts_are_the_stream_again(data: st.DataObject) -> None:
    messages = []
    for number, unit in enumerate(UNITS):
        starts = [at for at in range(4, len(unit)) if unit.startswith(START_CODE, at)]
        cuts = [at for at in starts if data.draw(st.booleans())]
        for first, stop in itertools.pairwise([0, *cuts, len(unit)]):
            part = unit[first:stop]
            messages.append(Picture(number, part, read_h264(part), 1, is_continued=True))
    joined = list(join_pictures(messages))
    assert [picture.data for picture in joined] == UNITS
    assert [picture.time_ms for picture in joined] == [*range(len(UNITS))]
    assert [picture.head.is_key for picture in joined] == [read_h264(unit).is_key for unit in UNITS]


def test_times_that_go_back_move_behind_the_picture_before(made: Made, capsys: Capture) -> None:
    units = h264(range(6))
    add_pictures(
        made, "video/5.h264", [Sent(ms, unit) for ms, unit in zip((0, 40, 30, 80, 80, 120), units, strict=True)]
    )
    made.save()
    assert remux(made) == Exit.OK
    assert see(made.directory / "export/video-5-1.mkv").times_ms == [0, 40, 40, 80, 80, 120]
    assert "1 pictures whose times go back" in capsys.readouterr().err
    assert remux(made, "--format", "mp4") == Exit.OK
    seen = see(made.directory / "export/video-5-1.mp4")
    assert (seen.times_ms, seen.numbers) == ([0, 40, 41, 80, 81, 120], [*range(6)])


# What cannot be exported


def test_without_a_key_frame_the_rest_is_done(made: Made, capsys: Capture) -> None:
    add_pictures(made, "video/5.h264", [*jittered(h264(range(9))[1:]), *jittered(h264(range(5)), 5000, connection=2)])
    made.save()
    assert remux(made) == Exit.FAILED
    assert exported(made) == ["video-5-2.mkv"]
    message = (
        f"{made.directory}/video/5.h264: segment 1, from 0:00:00.000 on: no key frame in 8 pictures; not exported\n"
    )
    assert message in capsys.readouterr().err


def test_a_first_key_frame_that_cannot_be_read(made: Made, capsys: Capture) -> None:
    key = b"\0\0\0\x01\x67\x42\xc0\x1e\0\0\0\x01\x68\xce\0\0\0\x01\x65" + b"\xff" * 50
    add_pictures(made, "video/5.h264", [Sent(0, key), *jittered(h264(range(5)), 5000, connection=2)])
    made.save()
    assert remux(made) == Exit.FAILED
    assert exported(made) == ["video-5-2.mkv"]
    assert "segment 1, from 0:00:00.000 on: FFmpeg" in capsys.readouterr().err


def test_png_stays_images(made: Made, capsys: Capture) -> None:
    add_pictures(made, "share/5.pngs", [Sent(0, still("PNG", 1))])
    made.save()
    assert remux(made) == Exit.FAILED
    assert "PNG: MKV cannot hold them" in capsys.readouterr().err
    add_pictures(made, "video/5.h264", jittered(h264(range(3))))
    made.save()
    assert remux(made) == Exit.OK
    assert exported(made) == ["video-5-1.mkv"]
    assert "export X --format images" in capsys.readouterr().err


def test_what_is_missing_within_a_segment_is_skipped_up_to_the_next_key_frame(made: Made, capsys: Capture) -> None:
    path = add_pictures(made, "video/5.h264", jittered(h264(range(40))))
    made.save()
    index = path.with_name("5.h264.jsonl")
    lines = index.read_bytes().splitlines(keepends=True)
    first, last = json.loads(lines[14]), json.loads(lines[16])
    bridge = {
        "offset": first["offset"],
        "length": last["offset"] + last["length"] - first["offset"],
        "timestamp_ms": first["timestamp_ms"],
        "damaged": True,
    }
    index.write_bytes(b"".join([*lines[:14], json.dumps(bridge).encode() + b"\n", *lines[17:]]))
    assert remux(made) == Exit.FAILED
    seen = see(made.directory / "export/video-5-1.mkv")
    assert seen.numbers == [*range(14), *range(20, 40)]
    err = capsys.readouterr().err
    assert "video/5.h264.jsonl: the times of " in err
    assert "3 pictures that need a key frame" in err


@pytest.mark.parametrize("which", ["5.h264", "5.h264.jsonl"])
@pytest.mark.parametrize("how", ["cut", "removed", "a link"])
def test_a_damaged_pair(made: Made, tmp_path: Path, which: str, how: str, capsys: Capture) -> None:
    path = add_pictures(made, "video/5.h264", jittered(h264(range(30)))).with_name(which)
    add_pictures(made, "video/6.mjpeg", [Sent(0, still("JPEG", 6))])
    made.save()
    if how == "cut":
        os.truncate(path, path.stat().st_size // 2)
    elif how == "removed":
        path.unlink()
    else:
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    assert remux(made) == Exit.FAILED
    assert see(made.directory / "export/video-6-1.mkv").numbers == [6]
    if how == "cut":
        numbers = see(made.directory / "export/video-5-1.mkv").numbers
        assert numbers == [*range(len(numbers))]
        assert len(numbers) > 5
    assert f"{made.directory}/video/5.h264" in capsys.readouterr().err


def test_an_index_that_lists_more_than_there_is(made: Made, capsys: Capture) -> None:
    path = add_pictures(made, "video/5.h264", jittered(h264(range(10))))
    made.save()
    size = path.stat().st_size
    with path.with_name("5.h264.jsonl").open("a") as index:
        print(json.dumps({"offset": size, "length": 5, "timestamp_ms": STARTED_MS + 9000}), file=index)
    assert remux(made) == Exit.FAILED
    assert see(made.directory / "export/video-5-1.mkv").numbers == [*range(10)]
    assert f"video/5.h264: {size} bytes, its index lists more" in capsys.readouterr().err


@settings(max_examples=25, deadline=None)
@given(data=st.binary(max_size=300), at=st.integers(0, 10**6), form=st.sampled_from(["h264", "mjpeg"]))
def test_hostile_bytes_end_in_a_film_or_in_words(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, at: int, form: str
) -> None:
    made = Made(tmp_path_factory.mktemp("hostile") / "one")
    units = h264(range(4)) if form == "h264" else [still("JPEG", n) for n in range(4)]
    units[1] = data
    units[0] = units[0][: at % len(units[0])] + data + units[0][at % len(units[0]) :]
    add_pictures(made, f"video/5.{form}", jittered(units))
    made.save()
    assert remux(made) in {Exit.OK, Exit.FAILED}


# Options, and how results appear


def test_a_part_of_one_participant(made: Made, capsys: Capture) -> None:
    add_pictures(made, "video/5.h264", [Sent(100 * n, unit) for n, unit in enumerate(h264(range(40)))])
    add_pictures(made, "video/6.h264", jittered(h264(range(3))))
    made.save()
    assert remux(made, "--user-id", "5", "--from", "0:00:00.500", "--to", "0:00:02.500", "--json") == Exit.OK
    report = json.loads(capsys.readouterr().out)
    [made_film] = report["files"]
    assert made_film["path"] == str(made.directory / "export/video-5-1.mkv")
    assert see(Path(made_film["path"])).numbers == [*range(10, 25)]
    known = {"user_id": 5, "media": "video", "segment": 1, "pictures": 15, "left_out": 5, "from_ms": STARTED_MS + 1000}
    assert made_film.items() >= known.items()
    assert (made_film["duration_ms"], made_film["width"], made_film["height"], made_film["codec"]) == (
        1440,
        *SIZE,
        "H264",
    )
    assert remux(made, "--user-id", "77") == Exit.NO_SUCH_STREAM


def test_an_earlier_film_stays_without_force(made: Made, capsys: Capture) -> None:
    add_pictures(made, "video/5.h264", jittered(h264(range(3))))
    made.save()
    assert (remux(made), remux(made), remux(made, "--force")) == (Exit.OK, Exit.FAILED, Exit.OK)
    assert "is there already" in capsys.readouterr().err


def test_a_recording_without_pictures(made: Made, capsys: Capture) -> None:
    made.save()
    assert remux(made) == Exit.FAILED
    assert "no video and no shared screens" in capsys.readouterr().err


def test_without_the_extra(made: Made, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    add_pictures(made, "video/5.h264", jittered(h264(range(3))))
    made.save()
    monkeypatch.setattr(extra, "have", lambda _: None)
    assert remux(made) == Exit.FAILED
    assert capsys.readouterr().err.endswith(
        "remux needs the package 'av', which is missing: pip install 'rtmsd[media]'\n"
    )
    assert not (made.directory / "export").exists()


@pytest.mark.parametrize("limit_bytes", [8000, 2_000_000])  # found at the end, and in the middle
@pytest.mark.parametrize("form", ["mkv", "mp4"])
def test_a_full_disk_leaves_nothing(made: Made, form: str, limit_bytes: int) -> None:
    add_pictures(made, "video/5.h264", jittered([unit + bytes([1]) * 20_000 for unit in h264(range(200))]))
    made.save()
    code = f"import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit_bytes}, {limit_bytes}));"
    code += "from rtmsd.ctl.main import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "recordings", "remux", str(made.directory), "--format", form]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (child.returncode, child.stderr) == (
        Exit.FAILED,
        f"rtmsctl: {made.directory}/export/video-5-1.{form}: File too large\n",
    )
    assert not (made.directory / "export").exists()
    assert (made.directory / "video/5.h264").stat().st_size > limit_bytes


def test_a_revocation_meanwhile(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    add_pictures(made, "video/5.h264", jittered(h264(range(400))))
    made.save()
    monkeypatch.setattr("rtmsd.export.source._CHECK_EVERY_S", 0)
    monkeypatch.setattr("rtmsd.export.film.remux.film", _revoking(made))
    assert remux(made) == Exit.REFUSED
    assert [path.name for path in made.directory.iterdir()] == ["stream.json"]


def _revoking(made: Made) -> Any:
    """Return what makes a container, and revokes the recording once it is begun."""

    @contextmanager
    def revoke_and_film(*args: Any, **options: Any) -> Iterator[Any]:
        with film(*args, **options) as track:
            revoke(made.directory)
            yield track

    return revoke_and_film
