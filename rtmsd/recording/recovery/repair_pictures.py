"""Repair of a file of pictures and its index, which lists offset, length and time of each.

No picture that was promised is cut off. Where the index is broken or gone, one line for the whole stretch stands in:
the bytes can be found, only their times are lost, and that time is a gap.
"""

from typing import Any, Final

import attrs
import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from rtmsd.recording.disk.paths import owner_of
from rtmsd.recording.manifest.entry import to_json
from rtmsd.recording.manifest.lines import Line, read_line
from rtmsd.recording.manifest.schema import FileEntry, Manifest, SegmentEntry
from rtmsd.recording.media.images.codecs import PictureCodec, codec_of_file
from rtmsd.recording.media.images.segments import SegmentBudget, Segments, listed_segments, with_segments
from rtmsd.recording.recovery.damage import Lost, gap_of
from rtmsd.recording.recovery.plan import RepairPlan
from rtmsd.recording.verify.pictures import check_segments

FOLDERS: Final = ("video", "share")


def repair_pictures(plan: RepairPlan, manifest: Manifest, *, looks_into_pictures: bool) -> list[FileEntry]:
    """Repair all of them. Returns their entries for the manifest.

    Args:
        looks_into_pictures: whether to compare the sizes that the manifest has with each picture: of hours of video
            that takes many seconds, which a stream that is taken up does not have.
    """
    entries = {entry.path: entry for entry in manifest.files if entry.path.partition("/")[0] in FOLDERS}
    budget = SegmentBudget()
    there = [path for folder in FOLDERS for path in plan.files(f"{folder}/*")]
    names = {plan.name(path if path.suffix != ".jsonl" else path.with_suffix("")) for path in there} | entries.keys()
    pairs = (
        _Pair(plan, manifest, name, entries.get(name), budget, looks_into_pictures=looks_into_pictures)
        for name in sorted(names)
    )
    found = [entry for pair in pairs if (entry := pair.repair()) is not None]
    if budget.unlisted:
        others = manifest.counters.others
        others["unlisted_segments"] = manifest.counters["unlisted_segments"] + budget.unlisted
    return found


@attrs.frozen
class _Picture:
    """A line of the index.

    Attributes:
        connection: None for a stretch whose lines are gone, and of an earlier recording.
    """

    offset: int
    length: int
    time_ms: int
    connection: int | None = None

    @property
    def end(self) -> int:
        return self.offset + self.length


class _Pair:
    def __init__(
        self,
        plan: RepairPlan,
        manifest: Manifest,
        name: str,
        entry: FileEntry | None,
        budget: SegmentBudget,
        *,
        looks_into_pictures: bool,
    ) -> None:
        self._plan = plan
        self._budget = budget
        self._has_all_segments = not manifest.counters["unlisted_segments"]
        self._looks_into_pictures = looks_into_pictures
        self._name = name
        self._entry = entry
        self._end_ms: int | None = manifest.ended_ms
        self._data = plan.directory / name
        self._index = self._data.with_name(f"{self._data.name}.jsonl")
        # Where it should begin and end, as far as anybody said.
        self._start_ms = manifest.started_ms if entry is None else entry.start_ms
        self._last_ms = self._start_ms if entry is None else self._start_ms + max(0, entry.duration_ms)
        self._promised_bytes = 0 if entry is None else entry.bytes
        self._lost: list[tuple[int, int, str]] = []  # from, to, and what happened

    def repair(self) -> FileEntry | None:
        """Return the entry for the manifest; None where nothing is left."""
        if not self._plan.exists(self._data):
            if self._plan.exists(self._index):
                self._plan.remove(self._index)
                self._plan.note(self._index, "removed, what it lists is gone")
            if self._entry is not None:
                self._lose(self._start_ms, self._last_ms, "gone")
                self._report()
            return None
        size_bytes = self._plan.size_bytes(self._data)
        has_index = self._plan.exists(self._index)
        if not size_bytes and self._entry is None:
            for path in (self._data, self._index):
                if self._plan.exists(path):
                    self._plan.remove(path)
                    self._plan.note(path, "removed, it holds no pictures")
            return None
        content = self._plan.content(self._index) if has_index else b""
        lines, kept, is_broken = self._read(content, size_bytes)
        end = kept[-1].end if kept else 0
        # Without an entry nobody knows what was promised: better an index without times than no pictures.
        promised_bytes = min(self._promised_bytes, size_bytes) if has_index and self._entry is not None else size_bytes
        if end < promised_bytes:
            is_broken = True
            bridge = self._bridge(kept, end, promised_bytes, None)
            kept.append(bridge)
            lines.append(_line(bridge))
            end = bridge.end
        if end != size_bytes:
            self._plan.cut(self._data, end)
            self._plan.note(self._data, f"end without index cut off, {size_bytes - end} bytes")
        right = b"".join(lines)
        if is_broken or not has_index:
            self._plan.replace(self._index, right)
            self._plan.note(self._index, "made again where it was broken; the times of those pictures are unknown")
        elif right == content + b"\n":
            self._plan.replace(self._index, right)
            self._plan.note(self._index, "last line made whole")
        elif right != content:
            self._plan.cut(self._index, len(right))
            self._plan.note(self._index, "lines without pictures cut off")
        self._report()
        return self._found(kept, end)

    def _read(self, content: bytes, size_bytes: int) -> tuple[list[bytes], list[_Picture], bool]:
        """Return the lines that are right, what they list, and whether others were between them."""
        lines: list[bytes] = []
        kept: list[_Picture] = []
        is_broken = False
        skipped = False
        end = 0
        *whole, torn = content.split(b"\n")
        for line in whole if _picture(torn) is None else [*whole, torn]:  # which lacks its last byte only
            picture = _picture(line)
            if picture is None or picture.offset < end:
                skipped = True
                continue
            if picture.end > size_bytes:
                if picture.end <= self._promised_bytes:
                    self._lose(picture.time_ms, self._last_ms, "cut off")
                break
            if picture.offset > end:
                bridge = self._bridge(kept, end, picture.offset, picture.time_ms)
                kept.append(bridge)
                lines.append(_line(bridge))
            is_broken = is_broken or skipped or picture.offset > end
            kept.append(picture)
            lines.append(line + b"\n")
            end = picture.end
        return lines, kept, is_broken or skipped

    def _bridge(self, kept: list[_Picture], start: int, stop: int, next_ms: int | None) -> _Picture:
        """Return what stands for pictures whose lines are gone."""
        from_ms = kept[-1].time_ms + 1 if kept else self._start_ms
        to_ms = next_ms if next_ms is not None else max(self._last_ms, from_ms - 1)
        if self._entry is not None and start < self._promised_bytes:
            self._lose(from_ms, to_ms - 1 if next_ms is not None else to_ms, "index broken")
        return _Picture(start, stop - start, from_ms if not kept else to_ms)

    def _lose(self, from_ms: int, to_ms: int, what: str) -> None:
        self._lost.append((from_ms, to_ms, what))

    def _report(self) -> None:
        left_bytes = self._plan.size_bytes(self._data) if self._plan.exists(self._data) else self._promised_bytes
        if left_bytes < self._promised_bytes and not self._lost:
            self._lose(self._last_ms, self._last_ms, "cut off")
        for from_ms, to_ms, what in self._lost:
            gap = gap_of(self._data.parent.name, self._owner, from_ms, to_ms + 1, self._end_ms)
            self._plan.note_lost(Lost(self._name, what, gap))

    @property
    def _owner(self) -> int | str | None:
        return owner_of(self._data.stem) if self._entry is None else self._entry.user_id

    def _found(self, kept: list[_Picture], size_bytes: int) -> FileEntry | None:
        if not kept and self._entry is None:
            return None
        start_ms = kept[0].time_ms if kept else self._start_ms
        last_ms = kept[-1].time_ms if kept else start_ms
        entry = self._entry or FileEntry(self._name, "", self._owner, start_ms, 0, 0)
        found = replace(
            entry,
            index=self._plan.name(self._index),
            media=self._data.parent.name,
            start_ms=start_ms,
            duration_ms=max(0, last_ms - start_ms),
            bytes=size_bytes,
        )
        if self._entry is not None and self._entry.segments is UNSET:
            return found  # of an earlier recording
        codec = codec_of_file(self._name)
        return with_segments(found, codec.name, self._segments(codec, entry, kept, size_bytes))

    def _segments(
        self, codec: PictureCodec, entry: FileEntry, kept: list[_Picture], size_bytes: int
    ) -> list[SegmentEntry]:
        """Return those of the manifest, as far as there are pictures, and of pictures that it does not know yet."""
        listed = [segment for segment in listed_segments(entry) if segment.offset < size_bytes]
        known_bytes = min(self._promised_bytes, size_bytes)
        known = to_json(with_segments(replace(entry, bytes=known_bytes), codec.name, listed))
        try:
            check_segments(
                self._data, known, map(_plain, kept), has_all=self._has_all_segments, looks=self._looks_into_pictures
            )
        except ValueError:
            known_bytes, listed = 0, []
        segments = Segments(self._budget, listed, listed[-1].connection if listed else None)
        with self._data.open("rb") as file:
            for picture in kept:
                if picture.offset >= known_bytes and picture.connection is not None:
                    file.seek(picture.offset)
                    head = codec.read(file.read(min(picture.length, codec.reach_bytes)))
                    size = None if head is None else head.size
                    segments.note(picture.time_ms, picture.offset, picture.connection, size)
        return segments.listed


def _picture(line: bytes) -> _Picture | None:
    try:
        known = read_line(line, Line.PICTURE)
    except ValueError:
        return None
    return _Picture(known["offset"], known["length"], known["timestamp_ms"], known.get("connection"))


def _plain(picture: _Picture) -> dict[str, Any]:
    known = {"offset": picture.offset, "length": picture.length, "timestamp_ms": picture.time_ms}
    return known if picture.connection is None else known | {"connection": picture.connection}


def _line(picture: _Picture) -> bytes:
    return msgspec.json.encode(_plain(picture) | {"damaged": True}) + b"\n"
