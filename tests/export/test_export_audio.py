"""Mixes and tracks: equal, sample for sample, to what a reference makes that loads all into memory."""

import io
import json
import math
import random
import resource
import shutil
import signal
import subprocess
import sys
import wave
from array import array
from pathlib import Path
from typing import Any
from unittest import mock

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from rtmsd.ctl.errors import Exit
from rtmsd.ctl.main import main
from rtmsd.export.audio import adding
from rtmsd.export.audio.mixing import BLOCK
from rtmsd.export.report import Report
from rtmsd.recording.disk.paths import DAY_MS, midnight_ms
from rtmsd.recording.media.wav.header import HEADER_BYTES
from rtmsd.recording.verify.wave_reader import read_wave
from tests.export.recordings import STARTED_MS, Made, revoke

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path / "one")


@pytest.fixture(params=["numpy", "without numpy"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "without numpy":
        monkeypatch.setattr(adding, "have", lambda _: None)


def export(directory: Path, *args: str) -> int:
    return main(["recordings", "export", str(directory), *args])


def noise(samples: int, seed: int, loudest: int = 8000) -> bytes:
    return array("h", random.Random(seed).choices(range(-loudest, loudest), k=samples)).tobytes()


def tone(hz: float, seconds: float, rate_hz: int, channels: int = 1) -> bytes:
    times = np.arange(int(seconds * rate_hz)) / rate_hz
    samples = (10_000 * np.sin(2 * math.pi * hz * times)).astype("<i2")
    return samples.repeat(channels).tobytes()


def read(path: Path) -> tuple[int, Any]:
    """Return rate and samples, one column for each channel, as soundfile reads them; `wave` has to agree."""
    samples, rate_hz = soundfile.read(path, dtype="int16", always_2d=True)
    if path.suffix == ".wav":
        with wave.open(str(path)) as file:
            assert file.readframes(file.getnframes()) == samples.tobytes()
            assert file.getframerate() == rate_hz
    return rate_hz, samples


def reference(made: Made, from_ms: int, channels: int, *, only: set[int] | None = None) -> tuple[Any, int]:
    """Return the mix of all files, loaded into memory and added in 64 bit, and how many samples had to be clipped."""
    entries = [each for each in made.files if each.media == "audio" and (only is None or each.user_id in only)]
    loaded = [(each.start_ms, *read(made.directory / each.path)) for each in entries]
    length = max((start_ms - from_ms) * rate_hz // 1000 + len(samples) for start_ms, rate_hz, samples in loaded)
    total = np.zeros((length, channels), np.int64)
    for start_ms, rate_hz, samples in loaded:
        at = (start_ms - from_ms) * rate_hz // 1000
        total[at : at + len(samples)] += samples
    return np.clip(total, -32_768, 32_767), int(((total > 32_767) | (total < -32_768)).sum())


def hole(path: Path, first: int, stop: int) -> None:
    """Make a hole of some samples in a file: zeros that were never written."""
    content = path.read_bytes()
    path.unlink()
    with path.open("wb") as file:
        file.write(content[: HEADER_BYTES + 2 * first])
        file.seek(HEADER_BYTES + 2 * stop)
        file.write(content[HEADER_BYTES + 2 * stop :])


@pytest.mark.parametrize("library", [np, None])
@given(st.lists(st.tuples(*[st.integers(-32_768, 32_767)] * 3), min_size=1, max_size=9), st.integers(2, 40))
def test_sums_of_any_samples_are_clipped_and_counted(
    library: object, columns: list[tuple[int, int, int]], times: int
) -> None:
    blocks = [array("h", samples).tobytes() for samples in zip(*columns, strict=True)] * times
    sums = [sum(column) * times for column in columns]
    expected = array("h", (min(max(each, -32_768), 32_767) for each in sums)).tobytes()
    with mock.patch.object(adding, "have", return_value=library):
        add = adding.adder()
    assert add(blocks) == (expected, sum(not -32_768 <= each <= 32_767 for each in sums))


@pytest.mark.usefixtures("either_way")
@pytest.mark.parametrize("channels", [1, 2])
def test_a_mix_is_the_sum_of_all(made: Made, capsys: Capture, channels: int) -> None:
    """With holes, a second file of one participant, a start in the middle of a block, and more than 16 bit can be."""
    hole(made.audio(1, 733, noise(3 * BLOCK + 17, 1, 32_000)), 1000, BLOCK + 5000)
    made.audio(2, 0, noise(BLOCK // 2, 2, 32_000) * channels, channels=channels)
    made.audio(1, 14, noise(160, 3))
    made.audio(2, 9001, noise(2 * BLOCK - 3, 4, 32_000))
    made.audio("c-3", 20_000, noise(1, 5))
    assert export(made.save(), "--mix", "--format", "wav", "--json") == Exit.OK
    said = json.loads(capsys.readouterr().out)
    expected, clipped = reference(made, made.started_ms, channels)
    rate_hz, samples = read(made.directory / "export/mix.wav")
    assert rate_hz == 16_000
    np.testing.assert_array_equal(samples, expected)
    assert clipped > 0
    assert said["clipped"] == clipped
    assert said["duration_ms"] == math.ceil(len(expected) / 16)
    assert said["problems"] == []
    assert [Path(file["path"]).name for file in said["files"]] == ["mix.wav"]


@pytest.mark.usefixtures("either_way")
def test_silence_costs_no_disk(made: Made) -> None:
    made.audio(1, 0, noise(1000, 1))
    made.audio(2, 3_600_000, noise(1000, 1))
    assert export(made.save(), "--format", "wav") == Exit.OK
    path = made.directory / "export/mix.wav"
    assert path.stat().st_size == HEADER_BYTES + 2 * (3600 * 16_000 + 1000)
    assert path.stat().st_blocks * 512 < 1_000_000
    samples = read(path)[1]
    assert not samples[1000:-1000].any()
    assert samples[-1000:].tobytes() == noise(1000, 1)


def test_a_mix_across_midnight(tmp_path: Path) -> None:
    made = Made(tmp_path / "one", started_ms=midnight_ms(STARTED_MS) + DAY_MS - 1500)
    made.audio(1, 300, noise(32_000, 1))
    made.audio(2, 2001, noise(16_000, 2))
    assert export(made.save(), "--format", "wav") == Exit.OK
    path = made.directory / "export/mix.wav"
    np.testing.assert_array_equal(read(path)[1], reference(made, made.started_ms + 300, 1)[0])
    bext = read_wave(path).bext
    assert bext is not None
    assert bext.samples == (DAY_MS - 1200) * 16  # of the stream's first day, as of the recording's own files


def converted_at_once(pcm: bytes, from_hz: int, to_hz: int) -> Any:
    """Return mono samples in another rate, all of them converted together."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=to_hz)
    frame = av.AudioFrame(format="s16", layout="mono", samples=len(pcm) // 2)
    frame.planes[0].update(pcm)
    frame.sample_rate = from_hz
    frames = [*resampler.resample(frame), *resampler.resample(None)]
    return np.concatenate([each.to_ndarray()[0] for each in frames])


def test_two_rates_are_converted_as_if_at_once(made: Made) -> None:
    """In blocks, with a hole, and added to another: equal to a file that was loaded and converted as a whole."""
    slow = made.audio(2, 1003, noise(4 * BLOCK, 2), rate_hz=8000)
    hole(slow, 5000, 70_000)
    made.audio(1, 0, noise(BLOCK, 1))
    made.audio(1, 9000, noise(3 * BLOCK, 3))
    assert export(made.save(), "--format", "wav") == Exit.OK
    total, _ = reference(made, made.started_ms, 1, only={1})
    expected = np.zeros(1003 * 16 + 8 * BLOCK, np.int64)
    expected[: len(total)] += total[:, 0]
    whole = converted_at_once(slow.read_bytes()[HEADER_BYTES:], 8000, 16_000)[: 8 * BLOCK]
    expected[1003 * 16 : 1003 * 16 + len(whole)] += whole
    np.testing.assert_array_equal(read(made.directory / "export/mix.wav")[1][:, 0], np.clip(expected, -32_768, 32_767))


def test_two_rates_become_the_higher(made: Made) -> None:
    """The lower one is converted, and begins and ends where it did."""
    made.audio(1, 0, tone(440, 6, 16_000), rate_hz=16_000)
    made.audio(2, 1003, tone(1000, 4, 8000), rate_hz=8000)
    made.audio(2, 5500, noise(100, 3), rate_hz=16_000)
    made.save()
    assert export(made.directory, "--tracks", "--format", "wav") == Exit.OK
    rate_hz, converted = read(made.directory / "export/tracks/2.wav")
    assert rate_hz == 16_000
    assert len(converted) == 6 * 16_000
    expected = np.zeros(6 * 16_000, np.int64)
    at = 1003 * 16
    expected[at : at + 64_000] = 10_000 * np.sin(2 * math.pi * 1000 * np.arange(64_000) / 16_000)
    inner = slice(at + 500, at + 63_500)  # a filter rings at both ends
    assert np.abs(converted[inner, 0] - expected[inner]).max() < 200
    assert converted[5500 * 16 : 5500 * 16 + 100].tobytes() == noise(100, 3)
    assert not converted[: at - 50].any()
    assert export(made.directory, "--mix", "--format", "wav") == Exit.OK
    _, alone = read(made.directory / "export/tracks/1.wav")
    _, mixed = read(made.directory / "export/mix.wav")
    np.testing.assert_array_equal(mixed, alone + converted)


def test_converted_from_the_middle_is_the_same(made: Made) -> None:
    made.audio(1, 0, tone(440, 8, 16_000))
    made.audio(2, 0, tone(1000, 8, 8000), rate_hz=8000)
    made.save()
    assert export(made.directory, "--format", "wav") == Exit.OK
    whole = read(made.directory / "export/mix.wav")[1]
    assert export(made.directory, "--format", "wav", "--force", "--from", "0:00:05.003", "--to", "0:00:07") == Exit.OK
    part = read(made.directory / "export/mix.wav")[1]
    np.testing.assert_array_equal(part, whole[5003 * 16 : 7000 * 16])


@pytest.mark.parametrize(("rate_hz", "seconds"), [(48_000, 5), (44_100, 5), (8000, 5)])
def test_another_rate(made: Made, rate_hz: int, seconds: int) -> None:
    made.audio(1, 0, tone(440, seconds, 16_000))
    assert export(made.save(), "--format", "wav", "--rate", str(rate_hz)) == Exit.OK
    read_hz, samples = read(made.directory / "export/mix.wav")
    assert (read_hz, len(samples)) == (rate_hz, rate_hz * seconds)
    assert _frequency(samples[:, 0], rate_hz) == pytest.approx(440, abs=1)


def _frequency(samples: Any, rate_hz: int) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum) * rate_hz / len(samples))


def test_tracks_have_one_start_and_one_length(made: Made) -> None:
    made.person(1, "Ana")
    made.audio(1, 250, noise(20_000, 1))
    made.audio("c/2", 0, noise(70_000, 2))
    assert export(made.save(), "--tracks", "--format", "wav") == Exit.OK
    tracks = {path.name: read(path)[1] for path in (made.directory / "export/tracks").iterdir()}
    assert set(tracks) == {"1.wav", "c%2F2.wav"}
    assert {len(samples) for samples in tracks.values()} == {70_000}
    assert tracks["1.wav"].tobytes() == bytes(2 * 4000) + noise(20_000, 1) + bytes(2 * 46_000)


def test_zooms_own_mix_is_the_mix(made: Made) -> None:
    """Who is heard beside it, at another time, is in it; nobody is heard twice."""
    made.audio(0, 1000, noise(16_000, 1))
    made.audio(1, 500, noise(32_000, 2))
    assert export(made.save(), "--mix", "--format", "wav") == Exit.OK
    alone = noise(32_000, 2)
    assert read(made.directory / "export/mix.wav")[1].tobytes() == alone[:16_000] + noise(16_000, 1) + alone[48_000:]


def test_only_some_participants_and_some_time(made: Made, capsys: Capture) -> None:
    for user_id in (1, 2, 3):
        made.audio(user_id, 1000 * user_id, noise(80_000, user_id))
    made.save()
    span = ("--from", "0:00:02.500", "--to", "0:00:04")
    assert export(made.directory, "--format", "wav", "--user-id", "1", "--user-id", "3", *span) == Exit.OK
    expected, _ = reference(made, made.started_ms + 1000, 1, only={1, 3})
    np.testing.assert_array_equal(read(made.directory / "export/mix.wav")[1], expected[1500 * 16 : 3000 * 16])
    assert export(made.directory, "--format", "wav", "--user-id", "9") == Exit.NO_SUCH_STREAM
    assert "'9'" in capsys.readouterr().err
    assert export(made.directory, "--format", "wav", "--from", "2:00:00", "--force") == Exit.USAGE
    assert "0:00:08.000" in capsys.readouterr().err


@pytest.mark.parametrize("channels", [1, 2])
def test_flac_is_the_wav(made: Made, channels: int) -> None:
    made.audio(1, 0, noise(50_000, 1) * channels, channels=channels)
    made.audio(2, 7000, noise(BLOCK + 1, 2))
    made.save()
    for form in ("wav", "flac"):
        assert export(made.directory, "--format", form) == Exit.OK
    np.testing.assert_array_equal(
        read(made.directory / "export/mix.flac")[1], read(made.directory / "export/mix.wav")[1]
    )


@pytest.mark.parametrize("bitrate", [499, 500, 256_000, 256_001])
def test_a_bitrate_that_opus_cannot_have_is_refused(made: Made, capsys: Capture, bitrate: int) -> None:
    made.audio(1, 0, noise(16_000, 1))
    made.audio(2, 0, noise(32_000, 1), channels=2)
    is_fit = 500 <= bitrate <= 256_000
    expected = Exit.OK if is_fit else Exit.USAGE
    for which in ("--mix", "--tracks"):
        assert export(made.save(), which, "--format", "opus", "--bitrate", str(bitrate)) == expected
    assert is_fit or "from 500 to 256000 bit/s" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="ffprobe is not installed")
@pytest.mark.parametrize("rate_hz", [8000, 16_000, 32_000, 48_000])
def test_opus_is_the_same_tone(made: Made, rate_hz: int) -> None:
    made.person(1, "Ana")
    made.audio(1, 40, tone(440, 5, rate_hz), rate_hz=rate_hz)
    assert export(made.save(), "--tracks", "--format", "opus", "--bitrate", "32000") == Exit.OK
    path = made.directory / "export/tracks/1.opus"
    probed = subprocess.run(
        ["ffprobe", "-v", "error", "-show_streams", "-show_format", "-of", "json", path],
        capture_output=True, check=True,
    )  # fmt: skip
    said = json.loads(probed.stdout)
    assert said["streams"][0]["codec_name"] == "opus"
    assert float(said["format"]["duration"]) == pytest.approx(5, abs=0.03)
    tags = {**said["format"].get("tags", {}), **said["streams"][0].get("tags", {})}
    assert tags["title"] == "Ana"
    samples, read_hz = soundfile.read(path)
    assert _frequency(samples, read_hz) == pytest.approx(440, abs=1)
    assert len(samples) == 5 * read_hz


def _opus(path: Path, pcm: bytes) -> None:
    """Write a file as recordings have them: packets of 20 ms, no pre-skip."""
    with av.open(path, "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=48_000, layout="mono")
        frame = av.AudioFrame(format="s16", layout="mono", samples=len(pcm) // 2)
        frame.planes[0].update(pcm)
        frame.sample_rate, frame.pts = 48_000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("offset_ms", [0, 3000])
def test_opus_files_stand_beside_others(made: Made, offset_ms: int) -> None:
    """Their samples are placed by `start_ms`, also when the export begins in the middle."""
    made.audio(1, 0, tone(440, 4, 16_000))
    wav = made.audio(2, 1000, b"")
    pcm = np.zeros(48_000 * 6, "<i2")
    for second in range(6):  # a beep at the beginning of each second
        pcm[second * 48_000 : second * 48_000 + 4800] = np.frombuffer(tone(1000 + 100 * second, 0.1, 48_000), "<i2")
    opus = wav.with_suffix(".opus")
    _opus(opus, pcm.tobytes())
    wav.unlink()
    entry = made.files[-1]
    entry.path, entry.duration_ms, entry.bytes = f"audio/{opus.name}", 6000, opus.stat().st_size
    entry.rate_hz = 48_000
    span = ("--from", f"0:00:0{offset_ms // 1000}")
    assert export(made.save(), "--tracks", "--format", "wav", *span) == Exit.OK
    rate_hz, samples = read(made.directory / "export/tracks/2.wav")
    assert rate_hz == 48_000
    assert len(samples) == 48 * (7000 - offset_ms)
    for second in range(6):
        at = 48 * (1000 + 1000 * second - offset_ms)
        if at >= 0:
            around = samples[max(0, at - 4800) : at + 9600, 0].astype(np.int64)
            loud = np.flatnonzero(np.abs(around) > 1500) + max(0, at - 4800)
            assert abs(loud[0] - at) < 48 * 10
            assert _frequency(samples[at + 480 : at + 4320, 0], 48_000) == pytest.approx(1000 + 100 * second, abs=15)


# What goes wrong


def test_a_damaged_file_costs_only_itself(made: Made, capsys: Capture) -> None:
    made.audio(1, 0, noise(16_000, 1))
    made.audio(2, 0, noise(16_000, 2)).write_bytes(b"nothing that could be read")
    assert export(made.save(), "--format", "wav") == Exit.FAILED
    assert f"{made.directory}/audio/2.wav: " in capsys.readouterr().err
    assert read(made.directory / "export/mix.wav")[1].tobytes() == noise(16_000, 1)


def test_a_damaged_opus_file_costs_only_itself(made: Made, capsys: Capture) -> None:
    made.audio(1, 0, noise(48_000, 1), rate_hz=48_000)
    path = made.audio(2, 0, b"").with_suffix(".opus")
    path.write_bytes(b"OggS" + bytes(1000))
    entry = made.files[-1]
    entry.path, entry.duration_ms, entry.bytes = f"audio/{path.name}", 1000, 1004
    assert export(made.save(), "--format", "wav") == Exit.FAILED
    assert "audio/2.opus: " in capsys.readouterr().err
    assert read(made.directory / "export/mix.wav")[1].tobytes() == noise(48_000, 1)


@pytest.mark.parametrize("form", ["wav", "flac", "opus"])
def test_a_full_disk_leaves_nothing(made: Made, form: str) -> None:
    made.audio(1, 0, noise(100_000, 1))
    made.save()
    assert export(made.directory, "--format", form, "--to", "0:00:00.100") == Exit.OK
    earlier = (made.directory / f"export/mix.{form}").read_bytes()
    code = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000));"
    code += "from rtmsd.ctl.main import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "recordings", "export", str(made.directory), "--format", form, "--force"]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    assert child.returncode == Exit.FAILED
    assert child.stderr == f"rtmsctl: {made.directory}/export/mix.{form}: File too large\n"
    assert [path.name for path in (made.directory / "export").iterdir()] == [f"mix.{form}"]
    assert (made.directory / f"export/mix.{form}").read_bytes() == earlier


@pytest.mark.parametrize("form", ["wav", "flac", "opus"])
def test_a_revocation_during_an_export(made: Made, form: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    made.audio(1, 0, noise(5 * BLOCK, 1))
    made.save()
    progress = Report.progress

    def revoked_in_the_middle(self: Report, done: float) -> None:
        if 0.3 < done < 0.5:
            assert list((made.directory / "export").iterdir())
            revoke(made.directory)
        progress(self, done)

    monkeypatch.setattr(Report, "progress", revoked_in_the_middle)
    assert export(made.directory, "--format", form) == Exit.REFUSED
    assert "revoked" in capsys.readouterr().err
    assert [path.name for path in made.directory.iterdir()] == ["stream.json"]


def test_a_live_stream_until_what_is_synced(made: Made, capsys: Capture) -> None:
    path = made.audio(1, 0, noise(16_000, 1))
    with path.open("ab") as file:
        file.write(noise(500, 2))  # written, and not yet in the header
    assert export(made.save("active"), "--format", "wav") == Exit.OK
    assert "live: exported until 0:00:01.000" in capsys.readouterr().err
    assert read(made.directory / "export/mix.wav")[1].tobytes() == noise(16_000, 1)


def test_standard_output(made: Made, tmp_path: Path) -> None:
    made.audio(1, 0, noise(1000, 1))
    made.audio(2, 9000, noise(1000, 1))
    command = [sys.executable, "-m", "rtmsd.ctl", "recordings", "export", str(made.save()), "--format", "wav"]
    piped = subprocess.run([*command, "--output", "-"], stdout=subprocess.PIPE, check=True)
    assert export(made.directory, "--format", "wav", "--output", str(tmp_path / "mine.wav")) == Exit.OK
    assert piped.stdout == (tmp_path / "mine.wav").read_bytes()
    assert soundfile.info(io.BytesIO(piped.stdout)).frames == 9 * 16_000 + 1000
    assert not (made.directory / "export").exists()
    for options in (["--tracks"], ["--json"]):
        assert export(made.directory, "--format", "wav", "--output", "-", *options) == Exit.USAGE
    assert export(made.directory, "--format", "flac", "--output", "-") == Exit.USAGE


_WITHOUT = "import sys; sys.modules.update(dict.fromkeys(('av', 'numpy', 'soundfile')));"


@pytest.mark.parametrize(
    ("options", "asked_for"),
    [
        (["--format", "flac"], "--format flac needs the package 'soundfile'"),
        (["--format", "opus"], "--format opus needs the package 'av'"),
        (["--format", "wav", "--rate", "8000"], "converting sample rates (8000, 16000 Hz) needs the package 'av'"),
        (["--format", "wav"], None),
    ],
)
def test_without_the_extra(made: Made, options: list[str], asked_for: str | None) -> None:
    made.audio(1, 0, noise(1000, 1))
    code = f"{_WITHOUT} from rtmsd.ctl.main import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "recordings", "export", str(made.save()), *options]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    if asked_for is None:
        assert (child.returncode, child.stderr) == (Exit.OK, "")
        return
    assert child.returncode == Exit.FAILED
    assert child.stderr == f"rtmsctl: {asked_for}, which is missing: pip install 'rtmsd[media]'\n"
    assert not (made.directory / "export").exists()


def test_no_audio_is_an_error(made: Made, capsys: Capture) -> None:
    assert export(made.save(), "--format", "wav") == Exit.FAILED
    assert "no audio" in capsys.readouterr().err


def test_past_4_gib_it_is_rf64(made: Made) -> None:
    made.audio(1, 0, noise(1000, 1), rate_hz=48_000)
    made.audio(2, 13 * 3_600_000, noise(1000, 2), rate_hz=48_000)
    assert export(made.save(), "--format", "wav") == Exit.OK
    path = made.directory / "export/mix.wav"
    with path.open("rb") as file:
        assert file.read(4) == b"RF64"
    with soundfile.SoundFile(path) as sound:
        assert sound.frames == 13 * 3600 * 48_000 + 1000
        sound.seek(sound.frames - 1000)
        assert sound.read(1000, dtype="int16").tobytes() == noise(1000, 2)


def test_a_signal_leaves_nothing(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    made.audio(1, 0, noise(3 * BLOCK, 1))
    made.save()
    progress = Report.progress

    def ended_in_the_middle(self: Report, done: float) -> None:
        progress(self, done)
        if done > 0.5:
            assert list((made.directory / "export").iterdir())
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Report, "progress", ended_in_the_middle)
    with pytest.raises(SystemExit) as caught:
        export(made.directory, "--format", "wav")
    assert caught.value.code == 128 + signal.SIGTERM
    assert not (made.directory / "export").exists()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_mixing_many_participants_opens_few_files(made: Made) -> None:
    """A process may have 1024 files open; a stream may have 2000 participants."""
    for user_id in range(1, 301):
        made.audio(user_id, user_id, noise(100, user_id, 100))
    made.save()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, before[1]))
    try:
        assert export(made.directory, "--format", "wav") == Exit.OK
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    expected, _ = reference(made, made.started_ms + 1, 1)
    np.testing.assert_array_equal(read(made.directory / "export/mix.wav")[1], expected)


def test_a_time_that_cannot_be_does_not_take_for_ever(made: Made, capsys: Capture) -> None:
    made.audio(1, 0, noise(16_000, 1))
    made.audio(2, 2**52, noise(16_000, 2))
    made.save()
    assert export(made.directory, "--format", "wav") == Exit.FAILED
    assert "audio/2.wav, it is over 31 days" in capsys.readouterr().err
    assert export(made.directory, "--format", "wav", "--to", "0:00:01") == Exit.OK
    assert read(made.directory / "export/mix.wav")[1].tobytes() == noise(16_000, 1)


@pytest.mark.parametrize(
    "code",
    [
        "from rtmsd.export.exporters import EXPORTERS, find; assert [find(name) for name in EXPORTERS];"
        "print(sorted({'trio', 'av', 'numpy', 'soundfile'} & set(sys.modules)))",
        "import rtmsd.cli, rtmsd.daemon.root; print(sorted({'av', 'numpy', 'soundfile'} & set(sys.modules)))",
    ],
    ids=["exporters", "daemon"],
)
def test_heavy_modules_wait_for_the_exporter_that_needs_them(code: str) -> None:
    child = subprocess.run([sys.executable, "-c", f"import sys; {code}"], capture_output=True, text=True, check=True)
    assert child.stdout == "[]\n"
