"""What Zoom demands when a stream is revoked: everything that was stored is deleted at once."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rtmsd.protocol.enums import StopReason
from rtmsd.recording.disk import Disk
from rtmsd.recording.layout import MANIFEST
from rtmsd.recording.writer import encode_manifest


def receipt(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What may be kept of a manifest: that there was a stream, and nobody's name."""
    kept = ("version", "rtms_stream_id", "product", "id", "id_key", "app", "started_ms", "ended_ms")
    left = {name: manifest[name] for name in kept if name in manifest}
    left |= {"state": "revoked", "stop_reason": int(StopReason.STREAM_REVOKED)}
    left |= {"participants": [], "files": [], "gaps": [], "connections": [], "pauses": []}
    zero = {"messages": {"audio": 0, "transcript": 0}, "duplicates": 0, "dropped": 0, "corrupt": 0, "unknown": 0}
    return left | {"counters": zero}


def revoke(disk: Disk, directory: Path, manifest: Mapping[str, Any]) -> None:
    """Put a receipt in place of a recording. First the manifest, which holds names; then all the files.

    Raises:
        OSError: something is left; call again.
    """
    disk.make_directory(directory)
    disk.replace(directory / MANIFEST, encode_manifest(receipt(manifest)))
    for path in directory.iterdir():
        if path.name == MANIFEST:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    disk.sync_directory(directory)
