"""Exact counts of what Zoom sent and of what is in the files, by a reader that shares nothing with rtmsd.

Every packet names its participant and its number, so that each one is found, or found missing, or found twice.
"""

import json
import struct
import wave
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from rtmsd.protocol.enums import MediaType, StopReason
from rtmsd.recording.verify.verify import verify
from rtmsd.simulator import ARRIVED, SimSession
from rtmsd.simulator.media.marks import find_marks
from rtmsd.simulator.model.audio_log import AudioPacket
from tests.faults.process import Daemon, until

SLACK_MS: Final = 20  # the contract joins up to here: shorter holes are jitter
IN_TIME_MS: Final = 500
_BEXT_TIME: Final = 338


@attrs.frozen
class Track:
    """A WAV as any program reads it: `start_ms` counts from midnight, as `bext` does."""

    path: Path
    rate_hz: int
    bytes_per_ms: int
    start_ms: int
    samples: bytes


def read_track(path: Path) -> Track:
    """Read a WAV with the standard library, and its `bext` by hand.

    Raises:
        wave.Error, EOFError, ValueError: it cannot be read, or has fewer samples than it says.
    """
    with wave.open(str(path), "rb") as file:
        rate_hz, frame_bytes = file.getframerate(), file.getnchannels() * file.getsampwidth()
        samples = file.readframes(file.getnframes())
        if len(samples) != file.getnframes() * frame_bytes:
            raise ValueError(f"{path.name} says {file.getnframes()} frames and has {len(samples) // frame_bytes}")
    head = path.read_bytes()[:4096]
    at = head.index(b"bext")
    (start,) = struct.unpack_from("<Q", head, at + 8 + _BEXT_TIME)
    return Track(path, rate_hz, rate_hz * frame_bytes // 1000, start * 1000 // rate_hz, samples)


def recording_of(root: Path, session: SimSession) -> Path:
    """Return the one directory of a stream.

    Raises:
        ValueError: there is none, or more than one.
    """
    (found,) = root.glob(f"????-??-??/{session.rtms_stream_id}")
    return found


def manifest_of(directory: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((directory / "stream.json").read_bytes())
    return manifest


def is_guessed(manifest: dict[str, Any]) -> bool:
    """Whether a stream had ended when somebody came back to it: nobody knows what was sent since its last moment."""
    return manifest["stop_reason"] == StopReason.AWAIT_RECONNECTION_TIMEOUT and "slot gone" in manifest["why"]


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a JSONL file, [] without one."""
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


@attrs.define
class Reckoning:
    """Of one stream, or with `+=` of several.

    Attributes:
        sent: packets whose every byte reached the daemon's kernel. `recorded`: those of them that are in a file.
        lost: those that are not. `withheld`: what Zoom itself gave up, which is lost to everybody.
        doubled: found more than once. `damaged`: not as sent, or not where their timestamp says.
        torn: cut short by a kill in the middle of a write; they count as lost.
        strange: found and never sent.
        unexplained: lost or withheld, and in no gap. `pretended`: recorded, and nevertheless in a gap.
        gaps: by cause; gap_ms: their sum, of audio.
        transcripts, transcripts_lost: sent, and not there; the lost ones that no gap explains are `unexplained`, too.
        problems: what `verify` finds.
    """

    sent: int = 0
    recorded: int = 0
    lost: list[AudioPacket] = attrs.field(factory=list)
    withheld: int = 0
    doubled: int = 0
    damaged: list[str] = attrs.field(factory=list)
    torn: int = 0
    strange: int = 0
    unexplained: list[str] = attrs.field(factory=list)
    pretended: list[str] = attrs.field(factory=list)
    gaps: Counter[str] = attrs.field(factory=Counter)
    gap_ms: int = 0
    transcripts: int = 0
    transcripts_lost: int = 0
    problems: list[str] = attrs.field(factory=list)

    def __iadd__(self, other: "Reckoning") -> "Reckoning":
        for field in attrs.fields(Reckoning):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))
        return self

    @property
    def faults(self) -> dict[str, object]:
        """What must be empty whatever happened: a lost packet is no fault if a gap says so."""
        names = ("doubled", "damaged", "strange", "unexplained", "pretended", "problems")
        return {name: value for name in names if (value := getattr(self, name))}

    def __str__(self) -> str:
        return (
            f"sent {self.sent}, recorded {self.recorded}, lost {len(self.lost)}, withheld {self.withheld}, "
            f"doubled {self.doubled}, transcripts {self.transcripts} (lost {self.transcripts_lost}), "
            f"gaps {dict(self.gaps)} {self.gap_ms} ms, unexplained {len(self.unexplained)}"
        )


def reckon(root: Path, session: SimSession, *, verified: bool = True) -> Reckoning:
    """Compare the recording of an ended stream with what its Zoom sent."""
    directory = recording_of(root, session)
    manifest = manifest_of(directory)
    result = Reckoning()
    if verified:
        result.problems = [f"{session.rtms_stream_id}: {problem}" for problem in verify(directory)]
    gaps = manifest["gaps"]
    result.gaps = Counter(gap["cause"] for gap in gaps)
    result.gap_ms = sum(gap["to_ms"] - gap["from_ms"] for gap in gaps if gap["media"] == "audio")
    for user_id in session.record.audio:
        tracks = [
            read_track(directory / entry["path"])
            for entry in manifest["files"]
            if entry["media"] == "audio" and entry["user_id"] == user_id
        ]
        _reckon_audio(result, session, user_id, tracks, manifest)
    _reckon_transcripts(result, session, lines_of(directory / "transcript.jsonl"), manifest)
    return result


def _reckon_audio(
    result: Reckoning, session: SimSession, user_id: int, tracks: Iterable[Track], manifest: dict[str, Any]
) -> None:
    midnight_ms = manifest["started_ms"] - manifest["started_ms"] % 86_400_000
    log = session.record.audio_of(user_id)
    by_number: dict[int, AudioPacket] = {}
    for packet in log:  # one that was given up or lost may have been sent again
        known = by_number.get(packet.number)
        if known is None or known.fate not in ARRIVED:
            by_number[packet.number] = packet
    found: Counter[int] = Counter()
    for track in tracks:
        size_bytes = len(next(iter(by_number.values())).data)
        for mark in find_marks(track.samples, size_bytes):
            marked = by_number.get(mark.number)
            if marked is None or mark.user_id != user_id & 0xFFFFFFFF:
                result.strange += 1
                continue
            if not mark.whole and _is_torn(track.samples, mark.offset_bytes, marked.data):
                result.torn += 1
                continue
            found[mark.number] += 1
            here = marked.timestamp_ms - midnight_ms - track.start_ms
            off_ms = mark.offset_bytes / track.bytes_per_ms - here
            if not mark.whole or abs(off_ms) > SLACK_MS:
                result.damaged.append(f"{_name(session, marked)}: {off_ms:+g} ms off, whole: {mark.whole}")
    gaps = [gap for gap in manifest["gaps"] if gap["media"] == "audio" and gap["user_id"] in {None, user_id}]
    explained = [gap for gap in gaps if gap["cause"] != "daemon_restart"]  # killed before it recorded the end
    missing: list[AudioPacket] = []
    for packet in sorted(by_number.values(), key=lambda packet: packet.timestamp_ms):
        times = found[packet.number]
        result.doubled += max(0, times - 1)
        if packet.fate in ARRIVED:
            result.sent += 1
            result.recorded += times > 0
        else:
            result.withheld += not times
        if times and _covered(explained, packet, -SLACK_MS):
            result.pretended.append(_name(session, packet))
        if not times and packet.timestamp_ms < manifest["ended_ms"] - is_guessed(manifest) * SLACK_MS:
            missing.append(packet)
    result.lost += [packet for packet in missing if packet.fate in ARRIVED]
    for run in _runs(missing):
        if run[-1].timestamp_ms + run[-1].duration_ms - run[0].timestamp_ms > SLACK_MS:
            result.unexplained += [_name(session, packet) for packet in run if not _covered(gaps, packet, SLACK_MS)]


def _is_torn(samples: bytes, at: int, packet: bytes) -> bool:
    """Whether the first part of a packet is there and then silence, the end, or another packet."""
    here = samples[at : at + len(packet)]
    same = next((index for index, (a, b) in enumerate(zip(here, packet, strict=False)) if a != b), len(here))
    rest = here[same:]
    return not rest.rstrip(b"\0") or rest.lstrip(b"\0").startswith(packet[:4])


def _name(session: SimSession, packet: AudioPacket) -> str:
    return f"{session.rtms_stream_id} {packet.user_id} #{packet.number} at {packet.timestamp_ms}, {packet.fate.name}"


def _runs(packets: Iterable[AudioPacket]) -> Iterator[list[AudioPacket]]:
    """Yield lists of consecutive packets, in order."""
    run: list[AudioPacket] = []
    for packet in packets:
        if run and packet.timestamp_ms > run[-1].timestamp_ms + run[-1].duration_ms:
            yield run
            run = []
        run.append(packet)
    if run:
        yield run


def _reckon_transcripts(
    result: Reckoning, session: SimSession, lines: list[dict[str, Any]], manifest: dict[str, Any]
) -> None:
    recorded = Counter((line["user_id"], line["start_ms"], line["end_ms"], line["text"]) for line in lines)
    result.doubled += sum(count - 1 for count in recorded.values())
    gaps = [gap for gap in manifest["gaps"] if gap["media"] == "transcript"]
    # Transcripts are not buffered: nobody expects what was said before somebody was there to hear it.
    spans = [span for span in session.record.connections if span.media_type & (MediaType.TRANSCRIPT | MediaType.ALL)]
    first_ms = min((span.opened_ms for span in spans), default=manifest["ended_ms"])
    for item in session.record.transcripts:
        content = item.content
        who = content.get("user_id", content.get("channel_id"))
        key = (who, content["start_time"], content["end_time"], content["data"])
        if item.fate in ARRIVED:
            result.transcripts += 1
        if key in recorded:
            continue
        # Nor what was said between a handshake and the word on signaling that lets media flow.
        is_connecting = any(
            span.opened_ms <= item.timestamp_ms <= (span.flows_ms or span.closed_ms or span.opened_ms) for span in spans
        )
        if item.fate not in ARRIVED and (item.timestamp_ms <= first_ms or is_connecting):
            continue
        if is_guessed(manifest) and item.timestamp_ms > manifest["ended_ms"]:
            continue
        result.transcripts_lost += item.fate in ARRIVED
        # A lost message is missing at the time it was sent; one that came and was dropped, at the time it was spoken.
        at_ms, from_ms, to_ms = item.timestamp_ms, content["start_time"], content["end_time"]
        sent = any(gap["from_ms"] - SLACK_MS <= at_ms <= gap["to_ms"] + SLACK_MS for gap in gaps)
        explained = any(gap["from_ms"] <= from_ms and to_ms <= gap["to_ms"] and gap["user_id"] == who for gap in gaps)
        if not sent and not explained:
            result.unexplained.append(f"{session.rtms_stream_id} transcript at {at_ms}, {item.fate.name}")


def _covered(gaps: list[dict[str, Any]], packet: AudioPacket, slack_ms: int) -> bool:
    """Whether gaps together cover a packet, each of them longer by `slack_ms` at both ends."""
    from_ms, to_ms = packet.timestamp_ms, packet.timestamp_ms + packet.duration_ms
    for gap in sorted(gaps, key=lambda gap: gap["from_ms"]):
        if gap["from_ms"] - slack_ms <= from_ms < gap["to_ms"] + slack_ms:
            from_ms = max(from_ms, gap["to_ms"] + slack_ms)
    return from_ms >= to_ms


def percentile(values: Iterable[float], share: float) -> float:
    """Return the quantile `share` of values, 0.0 without any."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def sum_of(reckonings: Iterable[Reckoning]) -> Reckoning:
    total = Reckoning()
    for reckoning in reckonings:
        total += reckoning
    return total


def is_in_time(session: SimSession) -> bool:
    """Whether nothing is left in Zoom's buffer, which is dropped at the end."""
    newest_ms = max((log.newest_ms for log in session.record.audio.values()), default=0)
    return session.now_ms - newest_ms < IN_TIME_MS


async def stop_all(sessions: Sequence[SimSession]) -> None:
    """End all sessions, once nothing is left in Zoom's buffer."""
    for session in sessions:
        await until(partial(is_in_time, session))
    async with trio.open_nursery() as nursery:
        for session in sessions:
            nursery.start_soon(session.stop)


async def end_all(daemon: Daemon, sessions: Sequence[SimSession]) -> list[Reckoning]:
    """End all sessions, wait until their files are finished, and count each one."""
    await stop_all(sessions)
    await daemon.until_all_ended()
    assert not daemon.complaints()
    return [reckon(daemon.recordings, session) for session in sessions]
