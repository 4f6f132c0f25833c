"""Repair of the directory of one stream after a kill, a power failure, a full disk or damage. No Trio, no daemon.

Media that are on disk are kept; `repair_files` says what is cut off. What cannot be repaired is reported, and left as
it is.
"""

import math
import time
from pathlib import Path
from typing import Any

import attrs

from rtmsd.protocol.causes import GapCause, RecordingState
from rtmsd.recording.disk.filesystem import SET_ASIDE, Disk
from rtmsd.recording.disk.paths import CAPTIONS, EVENTS, TRANSCRIPT
from rtmsd.recording.manifest.entry import to_json
from rtmsd.recording.manifest.lines import Line, json_line, read_lines
from rtmsd.recording.manifest.schema import (
    MANIFEST,
    VERSION,
    FileEntry,
    GapEntry,
    Manifest,
    encode_manifest,
    read_manifest,
)
from rtmsd.recording.media.captions import HEAD, captions
from rtmsd.recording.recovery.plan import RepairPlan
from rtmsd.recording.recovery.rebuild import rebuild_manifest
from rtmsd.recording.recovery.repair_audio import Headers, repair_audio
from rtmsd.recording.recovery.repair_files import cut_torn
from rtmsd.recording.recovery.repair_lines import repair_lines
from rtmsd.recording.recovery.repair_pictures import repair_pictures
from rtmsd.recording.timeline.gaps import Gap, Gaps
from rtmsd.recording.verify.times import UNEXPLAINED, check_form, check_listed_once, verify_manifest


def repair(
    directory: Path, identity: dict[str, Any] | None = None, disk: Disk | None = None, *, dry_run: bool = False
) -> list[str]:
    """Repair what can be repaired. Nothing may be writing to the directory.

    Args:
        identity: `rtms_stream_id`, `product`, `id`, `app` and `started_ms` for a manifest that has to be rebuilt;
            without it they are guessed from the files.
        dry_run: only look.

    Returns:
        What was done, or would be, a line each; nothing if all was well.

    Raises:
        OSError: the disk refuses.
    """
    repaired = plan_repair(directory, identity or {}, looks_into_pictures=True)
    manifest, plan = repaired.manifest, repaired.plan
    if manifest is not None and repaired.is_corrected:
        plan.replace(directory / MANIFEST, encode_manifest(manifest))
    if manifest is not None and manifest.state != RecordingState.REVOKED:
        _repair_captions(plan, manifest)
        _note_rest(plan, manifest)
    if not dry_run:
        plan.apply(Disk(directory) if disk is None else disk)
    return plan.notes


@attrs.frozen
class Repaired:
    """A directory as it will be once repaired.

    Attributes:
        manifest: None if there is none, and none can be made.
        headers: of the files of audio, by name.
        is_corrected: whether the manifest is not the one that is there. The plan does not write it.
    """

    manifest: Manifest | None
    headers: Headers
    plan: RepairPlan
    is_corrected: bool = False


def plan_repair(directory: Path, identity: dict[str, Any], *, looks_into_pictures: bool = False) -> Repaired:
    """Find out what to repair, and change nothing. See `repair`, which also makes captions again.

    Args:
        looks_into_pictures: see `repair_pictures`.

    Raises:
        OSError: it cannot be read.
    """
    plan = RepairPlan(directory)
    manifest = read_manifest(directory)
    if manifest is not None and manifest.state == RecordingState.REVOKED:
        return Repaired(manifest, {}, plan)
    for path, entry in plan.recorded():
        if entry.name.startswith(".") and entry.name.endswith(".tmp"):
            plan.remove(path)
            plan.note(path, "removed, left behind by an interrupted replacement")
        elif entry.is_symlink() and path.name != MANIFEST and SET_ASIDE not in path.name:
            plan.set_aside(path)
            plan.note(path, f"a symbolic link, set aside as {path.name}{SET_ASIDE}")
    if manifest is None:
        manifest = rebuild_manifest(plan, identity)
    if manifest is None:
        plan.note(directory / MANIFEST, "no manifest of rtmsd, and nothing here to make one from")
        return Repaired(None, {}, plan)
    headers, audio = repair_audio(plan, manifest)
    pictures = repair_pictures(plan, manifest, looks_into_pictures=looks_into_pictures)
    files = [*audio, *pictures, *repair_lines(plan, manifest)]
    if plan.exists(captions_path := directory / CAPTIONS):
        cut_torn(plan, captions_path)
    is_corrected = _correct_manifest(plan, manifest, files)
    return Repaired(manifest, headers, plan, is_corrected)


def _correct_manifest(plan: RepairPlan, manifest: Manifest, files: list[FileEntry]) -> bool:
    """Have the manifest say what is there. Returns whether it is another by that."""
    path = plan.directory / MANIFEST
    known = {entry.path: entry for entry in manifest.files}
    found = {entry.path: entry for entry in files}
    for name in known.keys() - found.keys():
        what = "cannot be continued" if plan.exists(plan.directory / name) else "is gone"
        plan.note(plan.directory / name, f"{what}, taken out of the manifest")
    for name in found.keys() - known.keys():
        plan.note(plan.directory / name, "added to the manifest")
    for name in known.keys() & found.keys():
        if known[name] != found[name]:
            plan.note(plan.directory / name, f"{found[name].duration_ms} ms, corrected in the manifest")
    if has_duplicates := len(known) < len(manifest.files):
        plan.note(path, "files that were listed twice corrected")
    before = [Gap.from_entry(gap) for gap in manifest.gaps]
    entries_before = [gap.entry() for gap in before]
    if has_empty := any(gap.to_ms <= gap.from_ms for gap in before):
        plan.note(path, "empty gaps left out")
    if overlap := any(check_listed_once(map(to_json, manifest.gaps))):
        plan.note(path, "overlapping gaps merged")
    gaps = _with_lost(plan, manifest, before) if has_empty or overlap or plan.lost else entries_before
    if is_older := manifest.version < VERSION:  # there was none before
        plan.note(path, f"version {manifest.version} corrected to {VERSION}")
        manifest.version = VERSION
    _report_lost(plan, manifest)
    for name, entry in found.items():
        if name not in known or entry.bytes > known[name].bytes:
            plan.sync(plan.directory / name)
    if has_new_gaps := gaps != entries_before:
        manifest.gaps = gaps
    if has_new_files := known != found or has_duplicates:
        manifest.files = files
    return has_new_files or has_new_gaps or is_older or bool(plan.lost) or not plan.exists(path)


def _note_rest(plan: RepairPlan, manifest: Manifest) -> None:
    """Say what is wrong with the manifest and stays so, as nothing here shows what would be right."""
    written = to_json(manifest)
    for problem in list(check_form(written)) or list(verify_manifest(written)):
        if problem.kind != UNEXPLAINED:
            plan.note(plan.directory / problem.path, f"cannot be repaired: {problem.detail}")


def _with_lost(plan: RepairPlan, manifest: Manifest, gaps: list[Gap]) -> list[GapEntry]:
    """Return the gaps, with those of what was promised and is gone: less pauses, in which nothing was expected."""
    pauses = [(pause.from_ms, math.inf if pause.to_ms is None else pause.to_ms) for pause in manifest.pauses]
    lost = Gaps(lost.gap for lost in plan.lost if lost.gap is not None).listed((), pauses)[0]
    listed, within = Gaps([*gaps, *lost]).listed(())
    if lost and manifest.ended_ms is None:
        manifest.gaps_within = [*manifest.gaps_within, *(gap.entry() for gap in within)]
    return [gap.entry() for gap in listed]


def _report_lost(plan: RepairPlan, manifest: Manifest) -> None:
    if plan.lost:
        at_ms = time.time_ns() // 1_000_000
        events = plan.directory / EVENTS
        plan.append(events, b"".join(json_line(lost.event(at_ms)) for lost in plan.lost))
        manifest.events_bytes = plan.size_bytes(events)


def _repair_captions(plan: RepairPlan, manifest: Manifest) -> None:
    """The captions can always be made again from the transcript."""
    lines, cues = plan.directory / TRANSCRIPT, plan.directory / CAPTIONS
    are_captions = plan.exists(cues) and plan.content(cues).startswith(HEAD.encode())
    if not plan.exists(lines):
        if plan.exists(cues) and not are_captions:
            plan.set_aside(cues)
            plan.note(cues, f"no captions, set aside as {CAPTIONS}{SET_ASIDE}")
        return
    if are_captions and any(gap.media == "transcript" and gap.cause == GapCause.DAMAGED for gap in manifest.gaps):
        return  # they may hold what the transcript lost
    utterances = read_lines(plan.content(lines), Line.UTTERANCE)
    right = captions(utterances, manifest.started_ms).encode(errors="replace")
    if not plan.exists(cues) or plan.content(cues) != right:
        plan.replace(cues, right)
        if manifest.state == RecordingState.ENDED:  # until then they are in order of arrival, which is no damage
            plan.note(cues, "made again from the transcript")
