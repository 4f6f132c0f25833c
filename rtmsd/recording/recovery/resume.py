"""What an earlier run left in a directory, as it will be when it is mended, for a recorder that goes on with it."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import attrs

from rtmsd.recording.disk.filesystem import Disk
from rtmsd.recording.disk.nofollow import is_directory
from rtmsd.recording.disk.paths import CAPTIONS, CHAT, EVENTS, MANIFEST, TRANSCRIPT
from rtmsd.recording.library.revoke import delete_all
from rtmsd.recording.manifest.schema import Line, read_lines
from rtmsd.recording.media.recent_packets import WINDOW_MS
from rtmsd.recording.media.resumed import LONGEST_PACKET_MS
from rtmsd.recording.media.track import REACH_MS
from rtmsd.recording.media.wav import HEADER_BYTES, WavHeader
from rtmsd.recording.recovery.damage import Lost
from rtmsd.recording.recovery.holes import Inside, look_inside
from rtmsd.recording.recovery.plan import Mends
from rtmsd.recording.recovery.repair import look
from rtmsd.recording.timeline.gaps import Gap
from rtmsd.recording.timeline.intervals import IntervalSet, Part

_RECENT_BYTES: Final = 65_536
_ONE_FLUSH_MS: Final = 1000  # of live media, at most, that one flush brings to one file and not to another
_TAIL_MS: Final = LONGEST_PACKET_MS + 2 * REACH_MS
_TAILS_BYTES: Final = 16 * 2**20
_AT_ONCE_MS: Final = 200  # between the ends of what people say at the same time: the longest packets


@attrs.frozen
class FoundAudio:
    """A WAV: its entry in the manifest, its header, its size, what of missing times is in it, and its last bytes."""

    entry: dict[str, Any]
    header: WavHeader
    size_bytes: int
    inside: Inside
    tail: bytes = b""

    @property
    def user_id(self) -> int | str:
        return self.header.owner

    @property
    def end_ms(self) -> int:
        return self._ms(self.size_bytes)

    def _ms(self, position: int) -> int:
        return self.header.start_ms + (position - HEADER_BYTES) // self.header.pcm.bytes_per_ms

    @property
    def empty(self) -> list[Part]:
        """The parts of missing times in which it holds nothing."""
        return [(self._ms(start), self._ms(stop)) for start, stop in self.inside.holes]


@attrs.frozen(kw_only=True)
class Found:
    """What is there; all empty for a new stream.

    Attributes:
        names: of all files, ours or not.
        sizes: of the text files, by name.
        audio: each WAV.
        pictures: manifest entry, size, and size of the index, of each video or share file.
        recent_lines: the last of the transcript.
        repairs: what has to be mended, for people.
        lost: what had been promised and is gone.
        mend: does it, before anything else is written; None: there is nothing to do.
    """

    manifest: dict[str, Any] | None = None
    names: frozenset[str] = frozenset()
    sizes: dict[str, int] = attrs.field(factory=dict)
    audio: list[FoundAudio] = attrs.field(factory=list)
    pictures: list[tuple[dict[str, Any], int, int]] = attrs.field(factory=list)
    recent_lines: list[dict[str, Any]] = attrs.field(factory=list)
    repairs: list[str] = attrs.field(factory=list)
    lost: list[Lost] = attrs.field(factory=list)
    mend: Callable[[Disk], None] | None = None

    @property
    def counters(self) -> dict[str, int]:
        counters = self.manifest["counters"] if self.manifest else {}
        return {name: count for name, count in counters.items() if isinstance(count, int)}

    @property
    def corrupt_kinds(self) -> dict[str, int]:
        kinds = self.manifest["counters"].get("corrupt_kinds") if self.manifest else None
        if not isinstance(kinds, dict):
            return {}
        return {kind: count for kind, count in kinds.items() if isinstance(count, int)}

    @property
    def newest_audio_ms(self) -> int | None:
        """End of the newest audio; None if there is none."""
        return max((audio.end_ms for audio in self.audio), default=None)

    @property
    def outage_ms(self) -> int | None:
        """Since when audio was missing when the manifest was written; None if it was not."""
        gaps = self.manifest["gaps"] if self.manifest else []
        return next((gap["from_ms"] for gap in gaps if gap["media"] == "audio" and gap["to_ms"] is None), None)

    def lost_audio(self) -> Iterator[tuple[int | str, int, int]]:
        """Yield whose audio is missing, from when to when, if the daemon was killed in the middle of a flush.

        A flush writes one file after another, so that it may have come to some only, and to no manifest. What it
        brings is the last half second, or, out of Zoom's buffer, as much as there was since the last manifest. Who fell
        silent at that moment cannot be told from who was cut off.
        """
        newest_ms = self.newest_audio_ms
        lagging = [] if newest_ms is None else [(user, end_ms, newest_ms) for user, end_ms in self._lagging(newest_ms)]
        if self.outage_ms is None:
            yield from lagging
            return
        # What came after that manifest is of processes that wrote none. Where one person is to be heard and another is
        # not, the flush may have come to one file only; where nobody is, it is everybody's gap already.
        heard = IntervalSet(part for audio in self.audio for part in audio.inside.kept)
        empty = [(audio.user_id, *part) for audio in self.audio for part in audio.empty]
        for user_id, start_ms, stop_ms in (*lagging, *empty):
            for from_ms, to_ms in heard.intersect(max(start_ms, self.outage_ms), stop_ms):
                yield user_id, from_ms, int(to_ms)

    def _lagging(self, newest_ms: int) -> list[tuple[int | str, int]]:
        """Return who has less audio than others, and its end."""
        connections = self.manifest["connections"] if self.manifest else []
        heard = [each.get("heard_ms") for each in connections if each["closed_ms"] is None and "audio" in each["media"]]
        if self.outage_ms is not None:
            heard.append(self.outage_ms)
        if not heard:
            return []
        ends = {audio.user_id: audio.end_ms for audio in sorted(self.audio, key=lambda audio: audio.end_ms)}
        return [
            (user_id, end_ms)
            for user_id, end_ms in ends.items()
            if end_ms < newest_ms
            and (
                newest_ms - end_ms < _ONE_FLUSH_MS
                or any(time_ms is not None and abs(end_ms - time_ms) <= _AT_ONCE_MS for time_ms in heard)
            )
        ]

    @property
    def messages(self) -> dict[str, int]:
        return dict(self.manifest["counters"]["messages"]) if self.manifest else {}


def find(directory: Path, identity: dict[str, Any]) -> Found:
    """Read a directory as it will be when it is mended, and change nothing. A revoked one counts as empty.

    Raises:
        OSError: it cannot be read.
    """
    if not is_directory(directory):
        return Found()
    plan = look(directory, identity)
    manifest, mends = plan.manifest, plan.mends
    if manifest is not None and manifest["state"] == "revoked":  # we may have been killed before all was deleted
        return Found(mend=partial(_delete_rest, directory))
    assert manifest is not None, "with an identity one can be made"
    audio, pictures = [], []
    gaps = [Gap.from_manifest(gap) for gap in (*manifest["gaps"], *manifest.get("gaps_within", []))]
    for entry in manifest["files"]:
        path = directory / entry["path"]
        if entry["media"] == "audio":
            header, missing = plan.headers[entry["path"]], [gap for gap in gaps if gap.media == "audio"]
            audio.append(_audio(path, entry, header, mends.size_bytes(path), missing))
        elif entry["media"] in {"video", "share"}:
            index = directory / entry["index"]
            pictures.append((entry, mends.size_bytes(path), mends.size_bytes(index) if mends.exists(index) else 0))
    texts = [directory / name for name in (EVENTS, TRANSCRIPT, CAPTIONS, CHAT)]
    return Found(
        manifest=manifest,
        names=mends.names(),
        sizes={path.name: mends.size_bytes(path) for path in texts if mends.exists(path)},
        audio=_with_tails(directory, audio),
        pictures=pictures,
        recent_lines=_last_lines(directory / TRANSCRIPT, mends),
        repairs=mends.said,
        lost=mends.lost,
        mend=mends.apply if mends else None,
    )


def _delete_rest(directory: Path, disk: Disk) -> None:
    delete_all(disk, directory, but=MANIFEST)


def _audio(path: Path, entry: dict[str, Any], header: WavHeader, size_bytes: int, gaps: list[Gap]) -> FoundAudio:
    missing = [(gap.from_ms, gap.to_ms) for gap in gaps if gap.user_id in {None, header.owner}]
    return FoundAudio(entry, header, size_bytes, look_inside(path, header, size_bytes, missing))


def _with_tails(directory: Path, found: list[FoundAudio]) -> list[FoundAudio]:
    """Read the ends of those files of which something may come again, the newest first, within a bound."""
    newest_ms = max((audio.end_ms for audio in found), default=0)
    room_bytes = _TAILS_BYTES
    tails: dict[str, bytes] = {}
    for audio in sorted(found, key=lambda audio: audio.end_ms, reverse=True):
        size = min(audio.size_bytes - HEADER_BYTES, _TAIL_MS * audio.header.pcm.bytes_per_ms)
        if audio.end_ms < newest_ms - WINDOW_MS or size > room_bytes:
            break
        room_bytes -= size
        with (directory / audio.entry["path"]).open("rb") as file:
            file.seek(audio.size_bytes - size)
            tails[audio.entry["path"]] = file.read(size)
    return [attrs.evolve(audio, tail=tails.get(audio.entry["path"], b"")) for audio in found]


def _last_lines(path: Path, mends: Mends) -> list[dict[str, Any]]:
    return read_lines(mends.content(path)[-_RECENT_BYTES:], Line.UTTERANCE) if mends.exists(path) else []
