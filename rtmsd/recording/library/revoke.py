"""Revocation of a stream, as Zoom demands it: everything that was stored is deleted at once."""

import contextlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rtmsd.recording.disk.filesystem import Disk
from rtmsd.recording.disk.nofollow import delete_inside, open_directory
from rtmsd.recording.disk.paths import aside_of, building_of, stream_directory
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
    for copy in (building_of(directory), aside_of(directory)):  # left by an interrupted gathering
        if copy.is_dir() and not copy.is_symlink():
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
    if not directory.is_dir():
        return
    with contextlib.suppress(OSError):
        manifest = read_manifest(directory)
        identity = {**identity, **({} if manifest is None else to_json(manifest))}
    revoke(disk, directory, {**identity, "ended_ms": identity.get("ended_ms") or ended_ms})


def delete_all(disk: Disk, directory: Path, *, but: str) -> None:
    """Delete what is in a directory, apart from one name. See `nofollow.delete_inside`.

    Raises:
        OSError: something is left.
    """
    with open_directory(directory, disk.root) as descriptor:
        delete_inside(descriptor, but=but)
