"""The recordings on disk, listed, and removed one by one. Synchronous, for a worker thread.

A recording is removed in two steps. Its directory is renamed to a name that is no recording's: from then on it is gone
for everybody. Then its content is deleted, however long that takes. If that is interrupted, `leftovers` finds it by its
name.
"""

import contextlib
import os
import re
import shutil
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import attrs
from msgspec import UNSET

from rtmsd.protocol.causes import FINAL_STATES, RecordingState
from rtmsd.recording.disk.filesystem import Disk
from rtmsd.recording.disk.nofollow import open_directory
from rtmsd.recording.disk.paths import dates, safe_name
from rtmsd.recording.manifest.part import is_incomplete, is_let_go
from rtmsd.recording.manifest.schema import MANIFEST, Manifest, read_manifest

DAMAGED: Final = "damaged"
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}")
_LEFTOVER_SUFFIX: Final = ".deleted"  # after a dot and the name; `safe_name` lets neither dot into a recording's name
_BLOCK_BYTES: Final = 512  # the unit of `st_blocks`, whatever the file system's is


@attrs.frozen(kw_only=True)
class Recording:
    """One stream's directory.

    Attributes:
        state: of the manifest; `DAMAGED` when that cannot be used, and then all that it would hold is None.
        id: of the session, meeting, ...
        why: the reason for the state.
        started_ms, ended_ms: Zoom's times; `ended_ms` is None until the stream has ended.
        changed_ms: local time of the manifest's last change.
        bytes: what it occupies on disk; silence that was never written costs nothing.
        gaps: how many.
        refused: media that were asked for and not granted, and why.
        session_key: the developer's own name of the session, of the webhook's details.
        is_part: other members of a cluster have more of the stream, or may have it now.
        is_let_go: a part that nothing is added to: the last tenure here has ended, and the stream had not.
    """

    rtms_stream_id: str
    directory: Path
    state: str
    product: str | None = None
    id: str | None = None
    app: str | None = None
    started_ms: int | None = None
    ended_ms: int | None = None
    stop_reason: int | None = None
    why: str | None = None
    changed_ms: int
    bytes: int
    gaps: int | None = None
    refused: dict[str, str] = attrs.field(factory=dict)
    session_key: str | None = None
    is_part: bool = False
    is_let_go: bool = False

    @property
    def name(self) -> str:
        """Its unique name, the `safe_name` of the stream's id."""
        return self.directory.name

    @property
    def root(self) -> Path:
        """The directory of recordings that it is in."""
        return root_of(self.directory)

    @property
    def last_ms(self) -> int:
        """When it was last more than an archive: its end, or for want of one the last change of its manifest.

        Of Zoom's clock and ours the earlier: neither a copy made today nor a simulation that ran ahead makes it young.
        """
        return self.changed_ms if self.ended_ms is None else min(self.ended_ms, self.changed_ms)

    @property
    def is_receipt(self) -> bool:
        """Whether it only says that there was a recording, which had to be deleted."""
        return self.state == RecordingState.REVOKED

    def to_json(self) -> dict[str, Any]:
        """As `GET /v1/recordings` lists it."""
        return {**attrs.asdict(self), "directory": str(self.directory)}


def find_recordings(root: Path) -> list[Recording]:
    """Return all recordings, the oldest first.

    Raises:
        OSError: a directory cannot be read.
    """
    found = []
    for day in _days(root):
        for directory in day.iterdir():
            if directory.is_dir() and not directory.name.startswith("."):
                with contextlib.suppress(FileNotFoundError):  # it goes while we look
                    found.append(_read(directory))
    return sorted(found, key=lambda recording: (recording.last_ms, recording.name))


def _days(root: Path) -> list[Path]:
    """Only what is named after a date is ours to list, and to delete."""
    return [day for day in dates(root) if _DATE.fullmatch(day.name)]


def count_recordings(root: Path) -> int:
    """Return how many there are; none also where there is no such directory.

    Raises:
        OSError: it cannot be read.
    """
    return sum(each.is_dir() and not each.name.startswith(".") for day in _days(root) for each in day.iterdir())


def _read(directory: Path) -> Recording:
    manifest = None
    with contextlib.suppress(OSError):  # one that cannot be read must not hide all others
        manifest = read_manifest(directory)
    path = directory / MANIFEST
    recording = Recording(
        rtms_stream_id=unquote(directory.name),
        directory=directory,
        state=DAMAGED,
        changed_ms=int((path if path.exists() else directory).stat().st_mtime * 1000),
        bytes=occupied_bytes(directory),
    )
    return recording if manifest is None else _described(recording, manifest)


def _described(recording: Recording, manifest: Manifest) -> Recording:
    is_named = safe_name(manifest.rtms_stream_id) == recording.name
    details = manifest.details
    return attrs.evolve(
        recording,
        rtms_stream_id=manifest.rtms_stream_id if is_named else recording.rtms_stream_id,
        state=manifest.state,
        product=_text(manifest.product),
        id=_text(manifest.id),
        app=_text(manifest.app),
        started_ms=manifest.started_ms,
        ended_ms=manifest.ended_ms,
        stop_reason=manifest.stop_reason if type(manifest.stop_reason) is int else None,
        why=_text(manifest.why),
        gaps=len(manifest.gaps),
        refused={media: term.refused.why for media, term in manifest.media.items() if term.refused is not None},
        session_key=_text(details.get("session_key")) if isinstance(details, dict) else None,
        is_part=is_incomplete(manifest) or (manifest.part is not UNSET and manifest.state not in FINAL_STATES),
        is_let_go=is_let_go(manifest),
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def occupied_bytes(directory: Path) -> int:
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(OSError):
                total += (Path(folder) / name).lstat().st_blocks * _BLOCK_BYTES
    return total


def set_aside(directory: Path) -> Path:
    """Take a recording out of the library and return what is left to `erase`. Nothing may be writing to it.

    Raises:
        OSError: the disk refuses; the recording is as it was.
    """
    leftover = directory.with_name(f".{directory.name}{_LEFTOVER_SUFFIX}")
    if leftover.is_symlink() or leftover.exists():  # an earlier recording of the same stream
        erase(leftover)
    with open_directory(directory.parent, root_of(directory)) as day:
        os.rename(directory.name, leftover.name, src_dir_fd=day, dst_dir_fd=day)
    return leftover


def root_of(directory: Path) -> Path:
    """Return the directory of recordings that a recording, or what is left of one, is in."""
    return directory.parent.parent


def erase(leftover: Path) -> None:
    """Delete what was set aside, for good.

    Raises:
        OSError: something is left; call again.
    """
    disk = Disk(root_of(leftover))
    if leftover.is_symlink():
        disk.remove(leftover)
    else:
        disk.remove(leftover / MANIFEST)  # first: whoever looks for manifests finds nothing half deleted
        with open_directory(leftover.parent, disk.root) as day:
            _remove_tree(leftover.name, day)
    disk.sync_directory(leftover.parent)


def _remove_tree(name: str, day: int) -> None:
    """Remove a directory that another process may be removing, too."""
    while True:
        try:
            shutil.rmtree(name, dir_fd=day)
        except FileNotFoundError:
            with contextlib.suppress(FileNotFoundError):
                os.stat(name, dir_fd=day, follow_symlinks=False)
                continue
        return


def leftovers(root: Path) -> list[Path]:
    """Return what interrupted deletions left to `erase`."""
    return [path for day in _days(root) for path in day.glob(f".*{_LEFTOVER_SUFFIX}")]


def remove_empty_days(root: Path, before: str) -> None:
    """Remove the directories of dates on which nothing is left.

    Args:
        before: a date that is long past: in later directories a stream may just be about to begin.
    """
    for day in _days(root):
        if day.name < before:
            with contextlib.suppress(OSError):  # it holds recordings
                day.rmdir()
