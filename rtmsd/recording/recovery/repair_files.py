"""Repair of single files that a kill, a power failure or somebody's hands left broken.

Only what never was whole is cut off: a torn line, a torn page, or half a sample.
"""

import os
from pathlib import Path
from typing import Final

import attrs

from rtmsd.protocol.times import LATEST_MS
from rtmsd.recording.disk.paths import owner_of, participant_name
from rtmsd.recording.manifest.schema import FAR_MS, MAX_RATE_HZ, FileEntry
from rtmsd.recording.media.ogg.header import HEAD_BYTES, BadOgg, OggHeader
from rtmsd.recording.media.ogg.packets import OpusFormat
from rtmsd.recording.media.ogg.reader import End, find_end
from rtmsd.recording.media.wav.header import HEADER_BYTES, BadWav, WavHeader
from rtmsd.recording.recovery.damage import pcm_of
from rtmsd.recording.recovery.plan import RepairPlan

_PIECE_BYTES: Final = 65_536


def header_of(raw: bytes, stem: str, entry: FileEntry | None = None, started_ms: int | None = None) -> WavHeader | None:
    """Return the right header of a WAV; None if that is unknown.

    A header is believed, unless it is of another stream or of a time that none can be of, or in a format that is not
    that of the manifest, which is replaced as a whole and agrees with itself.

    Args:
        raw: the beginning of the file.
        stem: of its name.
        entry: of the manifest.
        started_ms: when the stream began; None if that is just what is to be found out.
    """
    stored = _decoded(raw)
    pcm = None if entry is None else pcm_of(entry)
    owners: list[int | str | None] = [
        None if stored is None else stored.owner,
        None if pcm is None or entry is None else entry.user_id,
    ]
    owner = next((each for each in owners if each is not None and _is_named(each, stem)), owner_of(stem))
    if started_ms is None:
        return stored and attrs.evolve(stored, owner=owner)
    if entry is None or pcm is None:
        return stored and attrs.evolve(stored, owner=owner, stream_started_ms=started_ms)
    header = WavHeader(pcm=pcm, start_ms=entry.start_ms, stream_started_ms=started_ms, owner=owner)
    if stored is None or stored.stream_started_ms // 1000 != started_ms // 1000 or stored.start_ms >= LATEST_MS:
        return header
    if stored.pcm != pcm:
        agrees = entry.duration_ms > 0 and entry.duration_ms == (entry.bytes - HEADER_BYTES) // pcm.bytes_per_ms
        return header if agrees else attrs.evolve(stored, owner=owner)
    # The start in a header cannot be before the stream's midnight.
    return header if _decoded(header.encode(0)) == stored else attrs.evolve(stored, owner=owner)


def _is_named(owner: int | str, stem: str) -> bool:
    """Whether a file of that owner may have this name; the second has `-2` behind it."""
    return f"{stem}-".startswith(f"{participant_name(owner)}-")


def _decoded(raw: bytes) -> WavHeader | None:
    try:
        header = WavHeader.decode(raw)
    except BadWav:
        return None
    can_be = header.stream_started_ms >= 0 and header.start_ms <= FAR_MS and header.pcm.rate_hz <= MAX_RATE_HZ
    return header if can_be and not isinstance(header.owner, bool) else None


def repair_wav(plan: RepairPlan, path: Path, entry: FileEntry | None, started_ms: int | None) -> WavHeader | None:
    """Correct the header, also to the size of the file. Returns it; None if there is no such WAV any more."""
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        raw = file.read(HEADER_BYTES)
    header = header_of(raw, path.stem, entry, started_ms)
    stored = _decoded(raw)
    if stored is None and size_bytes <= HEADER_BYTES:
        plan.remove(path)
        plan.note(path, "removed, it holds no audio")
        return None
    if header is None:
        plan.note(path, "cannot be repaired: its header is not readable and the manifest does not know it")
        return None
    whole_bytes = size_bytes - (size_bytes - HEADER_BYTES) % header.pcm.block_bytes
    right = header.encode(whole_bytes)
    if right != raw or whole_bytes != size_bytes:
        plan.cut(path, whole_bytes, right)
        is_known = stored is not None and stored == _decoded(right)
        what = "lengths in the header corrected" if is_known else "header made again from the manifest"
        plan.note(path, f"{what}, {whole_bytes} bytes")
    return header


def ogg_header_of(
    raw: bytes, stem: str, entry: FileEntry | None = None, started_ms: int | None = None, serial: int = 0
) -> OggHeader | None:
    """As `header_of`, of an Ogg file. Its checksum is right, so it is only asked whether it is of this stream.

    Args:
        serial: of the pages behind it.
    """
    try:
        stored = OggHeader.decode(raw)
    except BadOgg:
        stored = None
    if stored is not None and not (0 <= stored.stream_started_ms <= FAR_MS and 0 <= stored.start_ms < LATEST_MS):
        stored = None
    if stored is not None and not _is_named(stored.owner, stem):
        stored = attrs.evolve(stored, owner=owner_of(stem), serial=stored.serial)
    if started_ms is None or (stored is not None and stored.stream_started_ms == started_ms):
        return stored
    pcm = None if entry is None else pcm_of(entry)
    if entry is None or not isinstance(pcm, OpusFormat):
        return stored and attrs.evolve(stored, stream_started_ms=started_ms)
    owner = owner_of(stem) if entry.user_id is None else entry.user_id
    start_ms = entry.start_ms
    return OggHeader(pcm=pcm, start_ms=start_ms, stream_started_ms=started_ms, owner=owner, serial=serial)


def repair_ogg(plan: RepairPlan, path: Path, entry: FileEntry | None, started_ms: int) -> tuple[OggHeader, End] | None:
    """Cut off what is behind the last whole page. Returns header and end; None if there is no such file any more."""
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        raw = os.pread(file.fileno(), HEAD_BYTES, 0)
        end = find_end(file.fileno(), size_bytes)
    if end is None:
        if size_bytes <= HEAD_BYTES or ogg_header_of(raw, path.stem) is not None:
            plan.remove(path)
            plan.note(path, "removed, it holds no audio")
        else:
            plan.note(path, "cannot be repaired: there is no page of Opus in it")
        return None
    header = ogg_header_of(raw, path.stem, entry, started_ms, end.serial)
    if header is None:
        plan.note(path, "cannot be repaired: its header is not readable and the manifest does not know it")
        return None
    right = header.encode()
    if right != raw or end.size_bytes != size_bytes:
        plan.cut(path, end.size_bytes, right)
        what = "torn last page cut off" if right == raw else "header made again from the manifest"
        plan.note(path, f"{what}, {end.size_bytes} bytes")
    return header, end


def cut_torn(plan: RepairPlan, path: Path) -> None:
    """Cut off a last line that is torn, or that a power failure left as zeros."""
    content = plan.content(path)
    whole = content.rfind(b"\n") + 1
    while b"\0" in content[(start := content.rfind(b"\n", 0, max(0, whole - 1)) + 1) : whole]:
        whole = start  # JSON never has that byte
    if whole != len(content):
        plan.cut(path, whole)
        plan.note(path, f"torn last line cut off, {len(content) - whole} bytes")


def zeros_at_start(path: Path) -> int:
    """Return the offset of the first byte that is not zero, or the size."""
    offset = 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            if rest := piece.lstrip(b"\0"):
                return offset + len(piece) - len(rest)
            offset += len(piece)
    return offset
