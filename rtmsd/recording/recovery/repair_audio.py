"""Repair of all WAVs of a recording, and what was lost of them."""

from msgspec.structs import replace

from rtmsd.recording.manifest.schema import FileEntry, Manifest
from rtmsd.recording.media.wav.header import HEADER_BYTES, WavHeader
from rtmsd.recording.recovery.damage import Lost, gap_of, lost_audio
from rtmsd.recording.recovery.plan import RepairPlan
from rtmsd.recording.recovery.repair_files import repair_wav, zeros_at_start


def repair_audio(plan: RepairPlan, manifest: Manifest) -> tuple[dict[str, WavHeader], list[FileEntry]]:
    """Repair all audio. Returns the headers by name, and the entries for the manifest."""
    entries = {entry.path: entry for entry in manifest.files if entry.media == "audio"}
    headers: dict[str, WavHeader] = {}
    found: dict[str, FileEntry] = {}
    for path in plan.files("audio/*.wav"):
        name = plan.name(path)
        header = repair_wav(plan, path, entries.get(name), manifest.started_ms)
        if header is not None:
            headers[name] = header
            found[name] = _entry(name, header, plan.size_bytes(path), entries.get(name))
    end_ms = manifest.ended_ms
    for name, entry in entries.items():
        lost = lost_audio(entry, found.get(name), end_ms)
        if lost is not None:
            plan.note_lost(lost)
    for name, header in headers.items():
        length_ms = (zeros_at_start(plan.directory / name) - HEADER_BYTES) // header.pcm.bytes_per_ms
        if name in entries and length_ms > 0:
            gap = gap_of("audio", header.owner, header.start_ms, header.start_ms + length_ms, end_ms)
            plan.note_lost(Lost(name, "overwritten with zeros from its start on", gap))
    return headers, list(found.values())


def _entry(name: str, header: WavHeader, size_bytes: int, entry: FileEntry | None) -> FileEntry:
    found = FileEntry(
        path=name,
        media="audio",
        user_id=header.owner,
        start_ms=header.start_ms,
        duration_ms=(size_bytes - HEADER_BYTES) // header.pcm.bytes_per_ms,
        bytes=size_bytes,
        rate_hz=header.pcm.rate_hz,
        channels=header.pcm.channels,
    )
    return found if entry is None else replace(found, index=entry.index, others=entry.others)
