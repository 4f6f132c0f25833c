"""What Zoom demands when a stream is revoked: everything that was stored is deleted at once."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rtmsd.protocol.enums import StopReason
from rtmsd.recording.disk.filesystem import Disk
from rtmsd.recording.disk.nofollow import delete_inside, open_directory
from rtmsd.recording.disk.paths import MANIFEST, stream_directory
from rtmsd.recording.manifest.schema import encode_manifest
from rtmsd.recording.recovery.repair import read_manifest


def receipt(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What may be kept of a manifest: that there was a stream, and nobody's name."""
    kept = ("version", "rtms_stream_id", "product", "id", "id_key", "app", "started_ms", "ended_ms")
    left = {name: manifest[name] for name in kept if name in manifest}
    left |= {"state": "revoked", "stop_reason": int(StopReason.STREAM_REVOKED)}
    left |= {"participants": [], "files": [], "gaps": [], "connections": [], "pauses": [], "media": {}}
    zero = {"messages": {"audio": 0, "transcript": 0}, "duplicates": 0, "dropped": 0, "corrupt": 0, "unknown": 0}
    return left | {"counters": zero}


def revoke(disk: Disk, directory: Path, manifest: Mapping[str, Any]) -> None:
    """Put a receipt in place of a recording: at once, or when what was deleted made room for it.

    Nothing is read for it, so that no damage stands in the way.

    Raises:
        OSError: something is left; call again.
    """
    content = encode_manifest(receipt(manifest))
    disk.make_directory(directory)
    try:
        disk.replace(directory / MANIFEST, content)
    except OSError:  # then the old one, which holds names, goes with all the rest
        delete_all(disk, directory, but="")
        disk.replace(directory / MANIFEST, content)
    else:
        delete_all(disk, directory, but=MANIFEST)
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
        told = read_manifest(directory) or {}
        identity = {"version": 1, **identity, **told}
    revoke(disk, directory, {**identity, "ended_ms": identity.get("ended_ms") or ended_ms})


def delete_all(disk: Disk, directory: Path, *, but: str) -> None:
    """Delete what is in a directory, apart from one name. See `nofollow.delete_inside`.

    Raises:
        OSError: something is left.
    """
    with open_directory(directory, disk.root) as descriptor:
        delete_inside(descriptor, but=but)
