"""The comparison of every packet in the simulator's record with the audio files."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import attrs

from rtmsd.demo.evidence import Evidence, Gap, Track
from rtmsd.simulator import ARRIVED, Fate
from rtmsd.simulator.model.audio_log import AudioLog, AudioPacket
from rtmsd.simulator.model.record import Record


@attrs.frozen
class Speaker:
    """One participant's audio, said and recorded, in milliseconds; what Zoom repeats counts once.

    Attributes:
        missing: packets that are not in the files: lost on the way, or never sent.
        unexplained: those of them that no gap covers.
        unsent_ms: sound in the files that was never sent, or is in the wrong place.
        repeated: packets that arrived again. perhaps_repeated: with those that a cut found in
            flight.
    """

    user_id: int
    user_name: str
    said_ms: int
    recorded_ms: int
    missing: tuple[AudioPacket, ...]
    unexplained: tuple[AudioPacket, ...]
    unsent_ms: int
    repeated: int
    perhaps_repeated: int
    tracks: tuple[Track, ...]


def speakers(record: Record, evidence: Evidence, name: Callable[[int], str]) -> list[Speaker]:
    """Compare every packet of every participant with the files."""
    return [
        _speaker(log, evidence.tracks_of(user_id), evidence.gaps_of("audio", user_id), name(user_id))
        for user_id, log in record.audio.items()
    ]


def _speaker(log: AudioLog, tracks: Sequence[Track], gaps: Sequence[Gap], name: str) -> Speaker:
    said = {packet.number: packet for packet in log}
    rest = [bytearray(track.pcm) for track in tracks]  # not yet accounted for by a packet
    recorded_ms, missing = 0, []
    for packet in said.values():
        if _claim(packet, tracks, rest):
            recorded_ms += packet.duration_ms
        else:
            missing.append(packet)
    return Speaker(
        user_id=log.user_id,
        user_name=name,
        said_ms=sum(packet.duration_ms for packet in said.values()),
        recorded_ms=recorded_ms,
        missing=tuple(missing),
        unexplained=tuple(p for p in missing if not _covers(gaps, p.timestamp_ms, p.timestamp_ms + p.duration_ms)),
        unsent_ms=sum(
            (len(left) - left.count(0)) // track.bytes_per_ms + (1 if any(left) else 0)
            for left, track in zip(rest, tracks, strict=True)
        ),
        repeated=_beyond_first(packet.number for packet in log if packet.fate in ARRIVED),
        perhaps_repeated=_beyond_first(p.number for p in log if p.fate in ARRIVED or p.fate is Fate.IN_FLIGHT),
        tracks=tuple(tracks),
    )


def _beyond_first(numbers: Iterable[int]) -> int:
    """Return how many numbers are repetitions."""
    return sum(times - 1 for times in Counter(numbers).values())


def _claim(packet: AudioPacket, tracks: Sequence[Track], rest: Sequence[bytearray]) -> bool:
    """Blank a packet in `rest` and return True if a file has it at its timestamp."""
    size = len(packet.data)
    for track, left in zip(tracks, rest, strict=True):
        at = track.offset(packet.timestamp_ms)
        if at >= 0 and track.pcm[at : at + size] == packet.data:
            left[at : at + size] = bytes(size)
            return True
    return False


def _covers(gaps: Iterable[Gap], from_ms: int, to_ms: int) -> bool:
    """Whether an interval lies within one gap, or within several that touch."""
    for start_ms, end_ms in sorted((gap.from_ms, gap.to_ms) for gap in gaps):
        if start_ms <= from_ms < end_ms:
            from_ms = end_ms
    return from_ms >= to_ms
