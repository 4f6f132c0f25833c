"""Damage: data that a manifest promises and that are gone from the disk. Pure.

A manifest promises what was synced before it was written. A kill or a power failure cannot take that away: only what
somebody cut, removed or overwrote, or what a disk lost, is damage.
"""

from collections.abc import Iterable
from typing import Any, Final

import attrs
from msgspec import UNSET

from rtmsd.protocol.causes import GapCause
from rtmsd.recording.manifest.entry import to_json
from rtmsd.recording.manifest.schema import FileEntry
from rtmsd.recording.media.ogg.packets import RATE_HZ, OpusFormat
from rtmsd.recording.media.wav.header import HEADER_BYTES, PcmFormat
from rtmsd.recording.timeline.gaps import Gap

EVENT: Final = "file_damaged"


@attrs.frozen
class Lost:
    """The loss of a file.

    Attributes:
        path: as the manifest has it.
        what: in plain words.
        gap: the time of it; None where no media are missing by it.
    """

    path: str
    what: str
    gap: Gap | None = None

    @property
    def fields(self) -> dict[str, Any]:
        """Of the event that reports it."""
        gap = {} if self.gap is None else to_json(self.gap.entry())
        named = {name: gap.get(name) for name in ("media", "user_id", "from_ms", "to_ms")}
        return {"path": self.path, **named, "what": self.what}

    def event(self, at_ms: int) -> dict[str, Any]:
        """Return the event, from outside a recording's time."""
        return {"at_ms": at_ms, "kind": EVENT, "zoom_ms": None, **self.fields}

    def __str__(self) -> str:
        if self.gap is None:
            return self.what
        gap = self.gap
        whose = "" if gap.user_id is None else f" of {gap.user_id}"
        return f"{self.what}; {gap.media}{whose} from {gap.from_ms} to {int(gap.to_ms)} is a gap ({GapCause.DAMAGED})"


def gap_of(media: str, user_id: int | str | None, from_ms: int, to_ms: int, end_ms: int | None) -> Gap:
    """Return a gap of a millisecond at least, that ends with the stream."""
    to_ms = max(to_ms, from_ms + 1)
    if end_ms is not None and to_ms > end_ms:
        to_ms, from_ms = end_ms, min(from_ms, end_ms - 1)
    return Gap(media, user_id, from_ms, to_ms, GapCause.DAMAGED)


def lost_audio(entry: FileEntry, found: FileEntry | None, end_ms: int | None) -> Lost | None:
    """Compare the entry of a file of audio with what is there of it; None: all that was promised."""
    kept_ms = 0 if found is None else found.duration_ms
    if found is not None and found.bytes >= entry.bytes:
        return None
    pcm, promised_ms = pcm_of(entry), entry.duration_ms
    if pcm is not None and not isinstance(pcm, OpusFormat):  # where duration and size do not agree, the less of both
        promised_ms = min(promised_ms, (entry.bytes - HEADER_BYTES) // pcm.bytes_per_ms)
    if promised_ms <= kept_ms:
        return None
    start_ms = entry.start_ms
    what = "gone" if found is None else f"cut off, {entry.bytes} to {found.bytes} bytes"
    gap = gap_of("audio", entry.user_id, start_ms + kept_ms, start_ms + promised_ms, end_ms)
    return Lost(entry.path, what, gap)


def pcm_of(entry: FileEntry) -> PcmFormat | None:
    """Return the format that an entry names, if it does."""
    if entry.sample_rate_hz is UNSET or entry.channels is UNSET:
        return None
    if entry.codec == OpusFormat.codec:
        return OpusFormat(RATE_HZ, entry.channels)
    return PcmFormat(entry.sample_rate_hz, entry.channels)


def lost_lines(
    entry: FileEntry, size_bytes: int, times_ms: Iterable[int], started_ms: int, end_ms: int | None
) -> Lost | None:
    """Compare the entry of a file of text with what is there.

    Args:
        size_bytes: of the file; 0: it is gone.
        times_ms: of the lines that are there.
    """
    if size_bytes >= entry.bytes:
        return None
    promised_ms = started_ms + entry.duration_ms if entry.duration_ms > 0 else end_ms
    from_ms = max(times_ms, default=started_ms)
    to_ms = from_ms + 1 if promised_ms is None else promised_ms
    what = f"cut off, {entry.bytes} to {size_bytes} bytes" if size_bytes else "gone"
    return Lost(entry.path, what, gap_of(entry.media, None, min(from_ms, to_ms - 1), to_ms, end_ms))
