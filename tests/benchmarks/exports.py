"""`python -m tests.benchmarks.exports`: the CPU time and memory of exports, beside what the libraries alone need.

Each line has a load, rtmsctl in a process of its own, and a mark, taken right behind it: the same samples read, added
and written by numpy, soundfile or PyAV with everything in memory; of pictures, a copy by PyAV without anything else.
"""

import argparse
import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, NamedTuple

import av
import msgspec
import numpy as np
import soundfile

from rtmsd.recording.media.wav.header import HEADER_BYTES
from tests.export.filmed import Sent, add_pictures, h264
from tests.export.recordings import Made

SPEAKERS: Final = 5
RATE_HZ: Final = 16_000
_TURN: Final = 5 * RATE_HZ
_SPOKEN: Final = 0.35  # of the time, by each; for the rest of it they are silent
_RTMSCTL: Final = """
from rtmsd.ctl.main import main
status = main()
print(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0], file=sys.stderr)
sys.exit(status)
"""
_WITHOUT: Final = "sys.modules.update(dict.fromkeys(('av', 'numpy', 'soundfile')));"


class Spent(NamedTuple):
    """What a process took."""

    cpu_s: float
    rss_mib: float


class Goal(NamedTuple):
    """A load, with its limits for one hour of sound."""

    name: str
    form: str
    cpu_s: float
    library: bool = True


GOALS: Final = (
    Goal("mix to WAV", "wav", 1.5),
    Goal("mix to WAV without numpy", "wav", 30, library=False),
    Goal("mix to FLAC", "flac", 3),
    Goal("mix to Opus", "opus", 60),
    Goal("page with its sound", "page", 60),
    Goal("page without numpy", "page", 15, library=False),
)
RSS_MIB: Final = 80


class Talk(NamedTuple):
    """A recording of which there is no sound, with limits for its page."""

    name: str
    hours: int
    speakers: int
    utterances: int
    events: int
    size_kb: int | None


TALKS: Final = (Talk("page of 1 h", 1, 5, 1000, 600, 400), Talk("page of 8 h", 8, 20, 10_000, 5000, None))
_TEXT: Final = "What somebody says at once, of about as many words as are usual: {}"

FPS: Final = 25
FRAME_BYTES: Final = 12_500  # 2.5 Mbit/s
FILM_MB_S: Final = 500  # of CPU time, with the start of rtmsctl
FILM_RSS_MIB: Final = 100
FILM_FORMS: Final = {"mkv": "matroska", "mp4": "mp4"}


def speech(hours: float, seed: int, spoken: float) -> bytes:
    """Return noise in turns, and silence between them."""
    random = np.random.default_rng(seed)
    samples = random.integers(-3000, 3000, int(hours * 3600 * RATE_HZ), np.int16)
    for first in range(0, len(samples), _TURN):
        if random.random() > spoken:
            samples[first : first + _TURN] = 0
    return samples.tobytes()


def recording(directory: Path, hours: float, spoken: float) -> Path:
    made = Made(directory)
    for user_id in range(1, SPEAKERS + 1):
        made.audio(user_id, 137 * user_id, speech(hours, user_id, spoken))
    return made.save()


def written(directory: Path, talk: Talk) -> Path:
    """Return a recording of a transcript and of events, both over all the time."""
    made = Made(directory)
    for user_id in range(talk.speakers):
        made.person(user_id, f"Somebody {user_id}")

    def spread(count: int) -> Iterator[tuple[int, dict[str, Any]]]:
        for number in range(count):
            person = {"user_id": number % talk.speakers, "user_name": f"Somebody {number % talk.speakers}"}
            yield made.started_ms + number * talk.hours * 3_600_000 // count, person

    utterance = {"language": 9, "language_tag": "en", "attribute": 1, "received_ms": 1}
    made.lines(
        "transcript",
        (
            {**person, "text": _TEXT.format(at_ms), "start_ms": at_ms, "end_ms": at_ms + 3000, "timestamp_ms": at_ms}
            | utterance
            for at_ms, person in spread(talk.utterances)
        ),
    )
    event = {"kind": "active_speaker", "zoom_ms": None}
    made.lines("events", ({"at_ms": at_ms, **event, **person} for at_ms, person in spread(talk.events)))
    return made.save(ended_ms=made.started_ms + talk.hours * 3_600_000)


def filmed(directory: Path, hours: float) -> Path:
    """Return a recording of H.264 in HD whose frames have bodies of noise: nothing decodes them here."""
    made = Made(directory)
    noise = np.random.default_rng(1).integers(1, 256, FRAME_BYTES, np.uint8).tobytes()
    loop = [unit + noise[len(unit) :] for unit in h264(range(50), (1280, 720), every=50)]
    count = int(hours * 3600 * FPS)
    add_pictures(made, "video/5.h264", [Sent(number * 1000 // FPS, loop[number % 50]) for number in range(count)])
    return made.save()


def rtmsctl(verb: str, directory: Path, form: str, *, library: bool = True) -> Spent:
    code = f"import sys; {'' if library else _WITHOUT}\n{_RTMSCTL}"
    what = ["page"] if form == "page" else [verb, "--format", form]
    return spent([sys.executable, "-c", code, "recordings", *what, directory, "--force"])


def mark(directory: Path, form: str) -> Spent:
    """The libraries, in a process of their own; this module is its program."""
    return spent([sys.executable, "-m", "tests.benchmarks.exports", "--mark", form, directory])


def spent(command: list[Any]) -> Spent:
    """Run a program that ends its standard error output with its peak memory in KiB: the kernel's count for whoever
    waits begins with the memory of the process that started it.
    """
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        lines = said.read().decode().splitlines()
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command, stderr="\n".join(lines))
    return Spent(usage.ru_utime + usage.ru_stime, int(lines[-1]) / 1024)


def print_peak() -> None:
    status = Path("/proc/self/status").read_text().partition("VmHWM:")[2]
    print(status.split()[0], file=sys.stderr)


def libraries(directory: Path, form: str) -> None:
    """Do what an export does, in the shortest way."""
    tracks = [np.fromfile(path, "<i2", offset=HEADER_BYTES) for path in sorted((directory / "audio").iterdir())]
    total = np.zeros(max(map(len, tracks)) + 137 * SPEAKERS * RATE_HZ // 1000, np.int32)
    for number, track in enumerate(tracks):
        at = 137 * number * RATE_HZ // 1000
        total[at : at + len(track)] += track
    mixed = np.clip(total, -32_768, 32_767).astype("<i2")
    with tempfile.NamedTemporaryFile(dir=directory, suffix=f".{form}") as file:
        if form in {"opus", "page"}:
            _encode(Path(file.name), mixed)
        else:
            soundfile.write(file.name, mixed, RATE_HZ)


def _encode(path: Path, samples: Any) -> None:
    with av.open(path, "w", format="ogg") as container:
        stream = container.add_stream("libopus", rate=RATE_HZ, layout="mono")
        stream.bit_rate = 24_000
        for first in range(0, len(samples), _TURN):
            frame = av.AudioFrame.from_ndarray(samples[None, first : first + _TURN], format="s16", layout="mono")
            frame.sample_rate, frame.pts = RATE_HZ, first
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


class _Line(msgspec.Struct):
    length: int
    timestamp_ms: int
    key: bool


def copy(directory: Path, form: str) -> None:
    """Put the pictures of a recording in a container."""
    decode = msgspec.json.Decoder(_Line).decode
    with (
        (directory / "video/5.h264").open("rb") as film,
        (directory / "video/5.h264.jsonl").open("rb") as index,
        tempfile.NamedTemporaryFile(dir=directory) as file,
        av.open(file.name, "w", format=FILM_FORMS[form]) as container,
    ):
        found = av.open(io.BytesIO(film.read(FRAME_BYTES)), "r", format="h264")
        stream = container.add_stream_from_template(found.streams.video[0])
        stream.time_base = time_base = Fraction(1, 1000)
        film.seek(0)
        first_ms = None
        for line in map(decode, index):
            first_ms = line.timestamp_ms if first_ms is None else first_ms
            packet = av.Packet(film.read(line.length))
            packet.stream, packet.time_base, packet.is_keyframe = stream, time_base, line.key
            packet.pts = packet.dts = line.timestamp_ms - first_ms
            container.mux_one(packet)


def lines(directory: Path, hours: float, only: str) -> Iterator[str]:
    yield f"{'':36}{'CPU s':>8}{'limit':>8}{'mark':>8}{'x real time':>13}{'MiB':>6}{'limit':>7}"
    for spoken, talk in ((_SPOKEN, "by turns"), (1.0, "all at once")):
        source = recording(directory / talk.replace(" ", "-"), hours, spoken)
        for goal in GOALS:
            name = f"{goal.name}, {talk}"
            if only not in name:
                continue
            ours = rtmsctl("export", source, goal.form, library=goal.library)
            theirs = mark(source, goal.form)
            speed = hours * 3600 / ours.cpu_s
            yield (
                f"{name:36}{ours.cpu_s:8.2f}{goal.cpu_s * hours:8.2f}{theirs.cpu_s:8.2f}{speed:13.0f}"
                f"{ours.rss_mib:6.0f}{RSS_MIB:7}"
            )
    yield f"{'':36}{'CPU s':>8}{'kB':>8}{'limit':>8}{'MiB':>19}{'limit':>7}"
    for each in TALKS:
        if only in each.name:
            source = written(directory / each.name, each)
            ours = rtmsctl("export", source, "page")
            size_kb = (source / "export/page.html").stat().st_size // 1000
            yield f"{each.name:36}{ours.cpu_s:8.2f}{size_kb:8}{each.size_kb or '-':>8}{ours.rss_mib:19.0f}{RSS_MIB:7}"
    if not any(only in f"remux to {form}" for form in FILM_FORMS):
        return
    yield f"{'':36}{'MB/s':>8}{'limit':>8}{'mark':>8}{'CPU s':>13}{'MiB':>6}{'limit':>7}"
    source = filmed(directory / "film", hours)
    size_mb = (source / "video/5.h264").stat().st_size / 1e6
    for form in FILM_FORMS:
        if only in f"remux to {form}":
            ours, theirs = rtmsctl("remux", source, form), mark(source, form)
            yield (
                f"{f'remux to {form}':36}{size_mb / ours.cpu_s:8.0f}{FILM_MB_S:8}{size_mb / theirs.cpu_s:8.0f}"
                f"{ours.cpu_s:13.2f}{ours.rss_mib:6.0f}{FILM_RSS_MIB:7}"
            )


def main(write: Callable[[str], object] = print) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.exports", description=__doc__)
    parser.add_argument("--hours", type=float, default=1.0, help="how long the recording is")
    parser.add_argument("--only", default="", help="only lines whose name holds this: 'FLAC', 'by turns', ...")
    parser.add_argument("--directory", type=Path, help="where the recordings are made; 1.2 GB an hour, three times")
    parser.add_argument("--mark", nargs=2, metavar=("FORMAT", "DIR"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.mark:
        form, directory = options.mark
        (copy if form in FILM_FORMS else libraries)(Path(directory), form)
        print_peak()
        return
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        for line in lines(Path(directory), options.hours, options.only):
            write(line)


if __name__ == "__main__":
    main()
