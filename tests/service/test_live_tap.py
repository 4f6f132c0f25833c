"""Live media on standard output: in time, for several readers at once, and a slow one loses only its own frames."""

import json
import statistics
import subprocess
import threading
import time
import wave
from io import BytesIO
from pathlib import Path
from typing import Any

import soundfile

from rtmsd.recording.media.ogg.pages import read_pages
from rtmsd.simulator import ARRIVED
from tests.service.installation import LIMIT_S, Installation, until, zoom_for
from tests.service.prepared import ROOT

PACKETS = 20


def tap(daemon: Installation, *words: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(daemon.ctl_command("tap", *words), stdout=subprocess.PIPE, cwd=ROOT)


def next_line(reader: "subprocess.Popen[bytes]") -> dict[str, Any]:
    assert reader.stdout is not None
    line: dict[str, Any] = json.loads(reader.stdout.readline())
    return line


def audio_files(daemon: Installation) -> list[dict[str, Any]]:
    return [file for file in daemon.asked("inspect", "live")["files"] if file["media"] == "audio"]


def close(reader: "subprocess.Popen[bytes]") -> None:
    assert reader.stdout is not None
    reader.terminate()
    reader.stdout.close()
    reader.wait(LIMIT_S)


class Listener:
    """Reads the lines of a tap as they come, until it ends by itself."""

    def __init__(self, reader: "subprocess.Popen[bytes]") -> None:
        self.lines: list[dict[str, Any]] = []
        self._reader = reader
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        assert self._reader.stdout is not None
        with self._reader.stdout as stdout:
            for line in stdout:
                self.lines.append(json.loads(line))

    def wait(self) -> int:
        """Wait for the end, and return the exit status."""
        self._thread.join(LIMIT_S)
        return self._reader.wait(LIMIT_S)


def test_packets_come_within_a_tenth_of_a_second(daemon: Installation) -> None:
    daemon.sections["media.audio"] = {"send_rate_ms": 20}
    daemon.start()
    with zoom_for(daemon) as zoom:
        session = zoom.session("Ana", rtms_stream_id="live")
        reader = tap(daemon, "live", "--media", "audio", "--format", "ndjson")

        def delays_s() -> list[float]:
            got_s = {next_line(reader)["timestamp_ms"]: time.monotonic() for _ in range(PACKETS)}
            (log,) = session.record.audio.values()
            sent_s = zoom.do(lambda: {packet.timestamp_ms: packet.sent_s for packet in log})
            return [at_s - sent_s[timestamp_ms] for timestamp_ms, at_s in got_s.items()]

        until(lambda: statistics.median(delays_s()) < 0.1)  # a busy machine takes longer, but not all the time
        close(reader)


def test_sound_of_one_voice_as_wav_and_raw(daemon: Installation) -> None:
    daemon.start()
    with zoom_for(daemon) as zoom:
        session = zoom.session("Ana", "Bo", rtms_stream_id="live")
        until(lambda: len(audio_files(daemon)) == 2)
        refused = daemon.ctl("tap", "live", "--media", "audio", "--format", "wav")
        assert (refused.code, len(refused.err.splitlines())) == (7, 3)  # whose?
        assert daemon.ctl("tap", "live", "--user-id", "5").code == 7
        assert daemon.ctl("tap", "nobody").code == 4
        assert daemon.seen("tap", "live").code == 2  # sound is not for a terminal
        user_id = min(session.record.audio)
        readers = [tap(daemon, "live", "--user-id", str(user_id), "--format", form) for form in ("wav", "raw")]
        heard = [reader.stdout.read(44 + 6400) for reader in readers if reader.stdout]
        for reader in readers:
            close(reader)
        # An endless WAV says so in its header; a player takes it as it comes.
        assert heard[0][40:44] == b"\xff\xff\xff\xff"
        with wave.open(BytesIO(heard[0])) as wav:
            assert (wav.getframerate(), wav.getnchannels(), wav.getsampwidth()) == (16000, 1, 2)
        packets = zoom.do(lambda: b"".join(packet.data for packet in session.record.audio[user_id]))
    assert heard[0][44:] in packets
    assert heard[1] in packets


def test_opus_is_an_ogg_stream_and_never_decoded(daemon: Installation) -> None:
    daemon.sections["media.audio"] = {"codec": "OPUS", "sample_rate_hz": 48000, "send_rate_ms": 20}
    daemon.start()
    with zoom_for(daemon) as zoom:
        session = zoom.session("Ana", rtms_stream_id="live")
        until(lambda: audio_files(daemon))
        for form in ("wav", "raw"):
            refused = daemon.ctl("tap", "live", "--format", form)
            assert (refused.code, "choose opus or ndjson" in refused.err) == (7, True)
        reader, named = tap(daemon, "live", "--format", "opus"), tap(daemon, "live", "--format", "ndjson")
        assert next_line(named)["codec"] == "OPUS"
        close(named)
        assert reader.stdout is not None
        heard = reader.stdout.read(4000)
        zoom.wait(session.stop)
        with reader.stdout as stdout:
            heard += stdout.read()
        assert reader.wait(LIMIT_S) == 0
        (log,) = session.record.audio.values()
        sent = b"".join(packet.data for packet in log)
    packets = [each for page in list(read_pages(heard))[2:] for each in page.packets]
    assert b"".join(packets) in sent
    sound, rate_hz = soundfile.read(BytesIO(heard))
    assert (sound.shape, rate_hz) == ((960 * len(packets),), 48000)
    assert sound.any()


def test_media_and_events_by_name(daemon: Installation) -> None:
    daemon.start()
    with zoom_for(daemon) as zoom:
        session = zoom.session("Ana", rtms_stream_id="live")
        until(lambda: len(daemon.asked("inspect", "live")["links"]) == 2)
        listener = Listener(tap(daemon, "live", "--media", "transcript,events"))

        def is_heard() -> bool:
            zoom.do(lambda: session.say("Ana", "Good morning"))
            zoom.do(lambda: session.join("Eva"))
            zoom.do(lambda: session.leave("Eva"))
            heard = {(line["media"], line.get("text")) for line in listener.lines}
            return heard >= {("transcript", "Good morning"), ("events", None)}

        until(is_heard)
        zoom.wait(session.stop)
        assert listener.wait() == 0  # it ends with the stream
    assert listener.lines[-1]["media"] == "events"
    assert {line["media"] for line in listener.lines} == {"transcript", "events"}


def test_a_slow_reader_loses_only_its_own_frames(daemon: Installation) -> None:
    daemon.start()
    with zoom_for(daemon, speed=40.0) as zoom:
        session = zoom.session("Ana", rtms_stream_id="live")
        slow, quick = tap(daemon, "live", "--format", "ndjson"), tap(daemon, "live", "--format", "ndjson")
        first = next_line(slow)
        quick_first = next_line(quick)
        # Four megabytes: past what ring, sockets and pipe hold, but none of it all at once.
        goal = len(session.record.audio[first["user_id"]]) + 1000
        quick_lines = [quick_first]
        while len(session.record.audio[first["user_id"]]) < goal:
            quick_lines.append(next_line(quick))
        zoom.wait(session.stop)
        assert slow.stdout is not None
        assert quick.stdout is not None
        slow_lines = [first, *map(json.loads, slow.stdout)]
        quick_lines += map(json.loads, quick.stdout)
        close(slow)
        close(quick)
        until(lambda: not daemon.states())
        packets = [packet.timestamp_ms for packet in session.record.audio[first["user_id"]] if packet.fate in ARRIVED]
    assert [line["timestamp_ms"] for line in quick_lines] == packets[packets.index(quick_first["timestamp_ms"]) :]
    lost = 0
    expected = iter(packets[packets.index(first["timestamp_ms"]) :])
    for line in slow_lines:
        if line["media"] == "lost":
            lost += line["frames"]
            for _ in range(line["frames"]):
                next(expected)
        else:
            assert line["timestamp_ms"] == next(expected)
    assert lost > 100
    assert list(expected) == []
    info = daemon.asked("inspect", "live")
    assert info["counters"]["messages"]["audio"] == len(packets)
    assert info["counters"]["dropped"] == 0
    (file,) = audio_files(daemon)
    assert Path(info["directory"], file["path"]).stat().st_size > len(packets) * 3200
    assert daemon.ctl("recordings", "verify", "live").code == 0
