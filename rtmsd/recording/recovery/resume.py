"""The state that an earlier run left in a directory, as it will be once repaired, for a recorder that continues it."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
from msgspec import UNSET

from rtmsd.protocol.causes import RecordingState
from rtmsd.protocol.media_types import TEXTS
from rtmsd.recording.disk.filesystem import Disk
from rtmsd.recording.disk.nofollow import is_directory
from rtmsd.recording.disk.paths import CAPTIONS, owner_of
from rtmsd.recording.library.revoke import delete_all
from rtmsd.recording.manifest.lines import FILES, read_lines
from rtmsd.recording.manifest.schema import MANIFEST, MIX_USER_ID, FileEntry, Manifest
from rtmsd.recording.media.ogg.header import OggHeader
from rtmsd.recording.media.ogg.reader import find_end, last_packets
from rtmsd.recording.media.resumed import ResumedAudio, ResumedMedia, ResumedPictures
from rtmsd.recording.media.wav.earlier import LONGEST_PACKET_MS
from rtmsd.recording.media.wav.header import HEADER_BYTES, WavHeader
from rtmsd.recording.media.wav.recent_packets import WINDOW_MS
from rtmsd.recording.media.wav.track import REACH_MS
from rtmsd.recording.recovery.damage import Lost
from rtmsd.recording.recovery.holes import scan_holes, scan_pauses
from rtmsd.recording.recovery.plan import RepairPlan
from rtmsd.recording.recovery.repair import plan_repair
from rtmsd.recording.timeline.gaps import AT_ONCE_MS, Gap
from rtmsd.recording.timeline.intervals import IntervalSet, Part

_RECENT_BYTES: Final = 65_536
_ONE_FLUSH_MS: Final = 1000  # of live media, at most, that one flush brings to one file and not to another
_TAIL_MS: Final = LONGEST_PACKET_MS + 2 * REACH_MS
_TAILS_BYTES: Final = 16 * 2**20


@attrs.frozen(kw_only=True)
class ResumeState(ResumedMedia):
    """What is there; all empty for a new stream.

    Attributes:
        names: of all files, ours or not.
        repairs: what is repaired, for people.
        lost: what had been promised and is gone.
        repair: does it, before anything else is written; None: there is nothing to do.
    """

    manifest: Manifest | None = None
    names: frozenset[str] = frozenset()
    repairs: list[str] = attrs.field(factory=list)
    lost: list[Lost] = attrs.field(factory=list)
    repair: Callable[[Disk], None] | None = None

    @property
    def newest_audio_ms(self) -> int | None:
        """End of the newest audio; None if there is none."""
        return max((audio.end_ms for audio in self.audio), default=None)

    @property
    def outage_ms(self) -> int | None:
        """Since when audio was missing when the manifest was written; None if it was not."""
        gaps = self.manifest.gaps if self.manifest else []
        return next((gap.from_ms for gap in gaps if gap.media == "audio" and gap.to_ms is None), None)

    def lost_audio(self) -> Iterator[tuple[int | str, int, int]]:
        """Yield whose audio is missing, from when to when, if the daemon was killed in the middle of a flush.

        A flush writes one file after another, so that it may have come to some only, and to no manifest. What it
        brings is the last half second, or, out of Zoom's buffer, as much as there was since the last manifest. Who fell
        silent at that moment cannot be distinguished from who was cut off.
        """
        newest_ms = self.newest_audio_ms
        lagging = [] if newest_ms is None else [(user, end_ms, newest_ms) for user, end_ms in self._lagging(newest_ms)]
        if self.outage_ms is None:
            yield from lagging
            return
        # What came after that manifest is of processes that wrote none. Where one person is to be heard and another is
        # not, the flush may have come to one file only; where nobody is, it is everybody's gap already.
        heard = IntervalSet(part for audio in self.audio for part in audio.kept)
        empty = [(audio.user_id, *part) for audio in self.audio for part in audio.empty]
        for user_id, start_ms, stop_ms in (*lagging, *empty):
            for from_ms, to_ms in heard.intersect(max(start_ms, self.outage_ms), stop_ms):
                yield user_id, from_ms, int(to_ms)

    def _lagging(self, newest_ms: int) -> list[tuple[int | str, int]]:
        """Return who has less audio than others, and its end."""
        connections = self.manifest.connections if self.manifest else []
        heard = [each.heard_ms for each in connections if each.closed_ms is None and "audio" in each.media]
        if self.outage_ms is not None:
            heard.append(self.outage_ms)
        if not heard:
            return []
        ends = self._without_file(newest_ms)
        ends |= {audio.user_id: audio.end_ms for audio in sorted(self.audio, key=lambda audio: audio.end_ms)}
        return [
            (user_id, end_ms)
            for user_id, end_ms in ends.items()
            if end_ms < newest_ms
            and (
                newest_ms - end_ms < _ONE_FLUSH_MS
                or any(time_ms is not None and abs(end_ms - time_ms) <= AT_ONCE_MS for time_ms in heard)
            )
        ]

    def _without_file(self, newest_ms: int) -> dict[int | str, int]:
        """Return who joined so shortly before that their first audio may be what the flush did not come to, and since
        when it is missing then. Of who joined earlier and was silent it is not expected.
        """
        if self.manifest is None or any(audio.user_id == MIX_USER_ID for audio in self.audio):
            return {}
        first_ms = min(audio.header.start_ms for audio in self.audio)
        return {
            person.user_id: max(first_ms, min(person.joined_ms, newest_ms) - AT_ONCE_MS)
            for person in self.manifest.participants
            if person.joined_ms is not None and newest_ms - person.joined_ms < _ONE_FLUSH_MS
        }


def load_resume_state(directory: Path, identity: dict[str, Any]) -> ResumeState:
    """Read a directory as it will be once repaired, and change nothing. A revoked one counts as empty.

    Raises:
        OSError: it cannot be read.
    """
    if not is_directory(directory):
        return ResumeState()
    repaired = plan_repair(directory, identity)
    manifest, plan = repaired.manifest, repaired.plan
    if manifest is not None and manifest.state == RecordingState.REVOKED:  # a kill may have kept it from being deleted
        return ResumeState(repair=lambda disk: delete_all(disk, directory, but=MANIFEST))
    assert manifest is not None, "with an identity one can be made"
    audio: list[ResumedAudio] = []
    pictures: list[ResumedPictures] = []
    gaps = [Gap.from_entry(gap) for gap in (*manifest.gaps, *manifest.gaps_within) if gap.media == "audio"]
    elsewhere = [] if manifest.part is UNSET else [(each.from_ms, each.to_ms) for each in manifest.part.elsewhere]
    for entry in manifest.files:
        if entry.media == "audio":
            audio.append(_audio(plan, entry.path, repaired.headers[entry.path], gaps, elsewhere))
        elif entry.media in {"video", "share"}:
            pictures.append(_pictures(plan, entry))
    texts = [directory / name for name in (*FILES, CAPTIONS)]
    return ResumeState(
        manifest=manifest,
        names=plan.names(),
        sizes={path.name: plan.size_bytes(path) for path in texts if plan.exists(path)},
        audio=_with_tails(directory, audio),
        pictures=pictures,
        recent_lines={
            path.stem: read_lines(plan.content(path)[-_RECENT_BYTES:], FILES[path.name])
            for path in texts
            if path.stem in TEXTS and path.name in FILES and plan.exists(path)
        },
        counters=manifest.counters,
        repairs=plan.notes,
        lost=plan.lost,
        repair=plan.apply if plan else None,
    )


def _audio(
    plan: RepairPlan, name: str, header: WavHeader | OggHeader, gaps: list[Gap], elsewhere: Sequence[Part]
) -> ResumedAudio:
    path = plan.directory / name
    size_bytes = plan.size_bytes(path)
    missing = [*elsewhere, *((gap.from_ms, gap.to_ms) for gap in gaps if gap.user_id in {None, header.owner})]
    if isinstance(header, OggHeader):
        with path.open("rb") as file:
            end = find_end(file.fileno(), size_bytes)
        assert end is not None, "the repair found it"
        pauses = scan_pauses(path, header, end, missing)
        return ResumedAudio(name, header, size_bytes, pauses.holes, pauses.kept, end=end)
    scan = scan_holes(path, header, size_bytes, missing)
    return ResumedAudio(name, header, size_bytes, scan.holes, scan.kept)


def _pictures(plan: RepairPlan, entry: FileEntry) -> ResumedPictures:
    path, index = plan.directory / entry.path, f"{entry.path}.jsonl"
    user_id = owner_of(path.stem) if entry.user_id is None else entry.user_id
    index_path = plan.directory / index
    index_bytes = plan.size_bytes(index_path) if plan.exists(index_path) else 0
    return ResumedPictures(entry, user_id, plan.size_bytes(path), index, index_bytes)


def _with_tails(directory: Path, found: list[ResumedAudio]) -> list[ResumedAudio]:
    """Read the ends of those files of which something may come again, the newest first, within a bound."""
    newest_ms = max((audio.end_ms for audio in found), default=0)
    room_bytes = _TAILS_BYTES
    known: dict[str, ResumedAudio] = {}
    for audio in sorted(found, key=lambda audio: audio.end_ms, reverse=True):
        size = min(audio.size_bytes, _TAIL_MS * audio.header.pcm.bytes_per_ms)  # Opus never takes more
        if audio.end_ms < newest_ms - WINDOW_MS or size > room_bytes:
            break
        room_bytes -= size
        known[audio.path] = _with_tail(directory / audio.path, audio)
    return [known.get(audio.path, audio) for audio in found]


def _with_tail(path: Path, audio: ResumedAudio) -> ResumedAudio:
    header, tail_bytes = audio.header, _TAIL_MS * audio.header.pcm.bytes_per_ms
    with path.open("rb") as file:
        if isinstance(header, WavHeader):
            file.seek(max(HEADER_BYTES, audio.size_bytes - tail_bytes))
            return attrs.evolve(audio, tail=file.read(audio.size_bytes - file.tell()))
        last = [
            (HEADER_BYTES + samples * header.pcm.block_bytes, packet)
            for samples, packet in last_packets(file.fileno(), audio.size_bytes, tail_bytes)
        ]
    first = last[-1][0] - tail_bytes if last else 0
    return attrs.evolve(audio, packets=tuple((place, packet) for place, packet in last if place >= first))
