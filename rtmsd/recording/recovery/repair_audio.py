"""Repair of all audio of a recording, and what was lost of it."""

from pathlib import Path
from typing import TypeAlias

from msgspec.structs import replace

from rtmsd.recording.manifest.schema import FileEntry, Manifest
from rtmsd.recording.media.ogg.header import OggHeader
from rtmsd.recording.media.ogg.packets import RATE_HZ
from rtmsd.recording.media.ogg.reader import first_samples
from rtmsd.recording.media.wav.header import HEADER_BYTES, WavHeader
from rtmsd.recording.recovery.damage import Lost, gap_of, lost_audio
from rtmsd.recording.recovery.plan import RepairPlan
from rtmsd.recording.recovery.repair_files import repair_ogg, repair_wav, zeros_at_start

Headers: TypeAlias = dict[str, WavHeader | OggHeader]


def repair_audio(plan: RepairPlan, manifest: Manifest) -> tuple[Headers, list[FileEntry]]:
    """Repair all audio. Returns the headers by name, and the entries for the manifest."""
    entries = {entry.path: entry for entry in manifest.files if entry.media == "audio"}
    headers: Headers = {}
    found: dict[str, FileEntry] = {}
    for path in plan.files("audio/*.wav"):
        name = plan.name(path)
        header = repair_wav(plan, path, entries.get(name), manifest.started_ms)
        if header is not None:
            size_bytes = plan.size_bytes(path)
            duration_ms = (size_bytes - HEADER_BYTES) // header.pcm.bytes_per_ms
            headers[name] = header
            found[name] = _entry(name, header, size_bytes, duration_ms, entries.get(name))
    for path in plan.files("audio/*.opus"):
        name = plan.name(path)
        ogg = repair_ogg(plan, path, entries.get(name), manifest.started_ms)
        if ogg is not None:
            headers[name], end = ogg
            found[name] = _entry(name, ogg[0], end.size_bytes, end.samples * 1000 // RATE_HZ, entries.get(name))
    end_ms = manifest.ended_ms
    for name, entry in entries.items():
        lost = lost_audio(entry, found.get(name), end_ms)
        if lost is not None:
            plan.note_lost(lost)
    for name, known in headers.items():
        length_ms = _lost_at_start_ms(plan.directory / name, known) if name in entries else 0
        if length_ms > 0:
            gap = gap_of("audio", known.owner, known.start_ms, known.start_ms + length_ms, end_ms)
            plan.note_lost(Lost(name, "overwritten from its start on", gap))
    return headers, list(found.values())


def _lost_at_start_ms(path: Path, header: WavHeader | OggHeader) -> int:
    if isinstance(header, WavHeader):
        return (zeros_at_start(path) - HEADER_BYTES) // header.pcm.bytes_per_ms
    with path.open("rb") as file:
        return first_samples(file.fileno()) * 1000 // RATE_HZ


def _entry(
    name: str, header: WavHeader | OggHeader, size_bytes: int, duration_ms: int, entry: FileEntry | None
) -> FileEntry:
    found = FileEntry(
        path=name,
        media="audio",
        user_id=header.owner,
        start_ms=header.start_ms,
        duration_ms=duration_ms,
        bytes=size_bytes,
        codec=header.pcm.codec,
        sample_rate_hz=header.pcm.rate_hz,
        channels=header.pcm.channels,
    )
    return found if entry is None else replace(found, index=entry.index, others=entry.others)
