"""Revocation of a stream, as Zoom demands it: everything that was stored is deleted at once."""

import contextlib
import enum
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rtmsd.protocol.causes import RecordingState
from rtmsd.recording.disk.filesystem import Disk
from rtmsd.recording.disk.nofollow import delete_inside, is_directory, open_directory
from rtmsd.recording.disk.paths import (
    aside_of,
    building_of,
    dates,
    safe_name,
    staging_of,
    stream_directory,
    time_of,
)
from rtmsd.recording.manifest.entry import to_json
from rtmsd.recording.manifest.header import receipt
from rtmsd.recording.manifest.schema import MANIFEST, encode_manifest, read_manifest


def revoke(disk: Disk, directory: Path, known: Mapping[str, Any]) -> None:
    """Put a receipt in place of a recording: at once, or when what was deleted made room for it.

    Nothing is read for it, so that no damage stands in the way.

    Args:
        known: see `receipt`.

    Raises:
        OSError: something is left; call again.
    """
    content = encode_manifest(receipt(known))
    disk.make_directory(directory)
    try:
        disk.replace(directory / MANIFEST, content)
    except OSError:  # then the old one, which holds names, goes with all the rest
        delete_all(disk, directory, but="")
        disk.replace(directory / MANIFEST, content)
    else:
        delete_all(disk, directory, but=MANIFEST)
    for copy in _copies(directory):
        if is_directory(copy):
            shutil.rmtree(copy)
    disk.sync_directory(directory)


def revoke_stored(disk: Disk, root: Path, identity: Mapping[str, Any], ended_ms: int | None) -> None:
    """Revoke a stream that nobody records, if anything was stored of it.

    Args:
        identity: as `StreamInfo` has it.
        ended_ms: for the receipt, unless there is a manifest that knows.

    Raises:
        OSError: something is left; call again.
    """
    directory = stream_directory(root, identity["started_ms"], identity["rtms_stream_id"])
    if not directory.is_dir() and not any(map(is_directory, _copies(directory))):
        return
    with contextlib.suppress(OSError):
        manifest = read_manifest(directory)
        identity = {**identity, **({} if manifest is None else to_json(manifest))}
    revoke(disk, directory, {**identity, "ended_ms": identity.get("ended_ms") or ended_ms})


class Stored(enum.Enum):
    """What there is of a stream in a directory of recordings."""

    NOTHING = enum.auto()
    RECEIPT = enum.auto()
    RECORDING = enum.auto()


def stored(root: Path, rtms_stream_id: str) -> tuple[Stored, int]:
    """Return what is stored of a stream, and a time on the date in whose directory it is, or would be.

    Raises:
        OSError: a directory cannot be read.
    """
    for day in dates(root):
        directory = day / safe_name(rtms_stream_id)
        if any(map(is_directory, _copies(directory))):
            return Stored.RECORDING, time_of(day.name)
        if directory.is_symlink():
            return Stored.RECORDING, time_of(day.name)
        if is_directory(directory):
            manifest = read_manifest(directory)
            is_receipt = manifest is not None and manifest.state == RecordingState.REVOKED
            is_all = [path.name for path in directory.iterdir()] == [MANIFEST]
            return Stored.RECEIPT if is_receipt and is_all else Stored.RECORDING, time_of(day.name)
    return Stored.NOTHING, 0


def _copies(directory: Path) -> tuple[Path, ...]:
    """Return where gathering leaves something of a recording."""
    return building_of(directory), aside_of(directory), staging_of(directory)


def delete_all(disk: Disk, directory: Path, *, but: str) -> None:
    """Delete what is in a directory, apart from one name. See `nofollow.delete_inside`.

    Raises:
        OSError: something is left.
    """
    with open_directory(directory, disk.root) as descriptor:
        delete_inside(descriptor, but=but)
