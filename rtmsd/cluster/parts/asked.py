"""Gathering for somebody who asks: what the joined recording has and lacks, or why there is none."""

from pathlib import Path
from typing import Any

from msgspec import UNSET

from rtmsd.cluster.parts.gathering import Gatherer
from rtmsd.protocol.causes import FINAL_STATES, RecordingState
from rtmsd.recording.disk.paths import stream_directory
from rtmsd.recording.gather.errors import GatherError
from rtmsd.recording.manifest.part import is_incomplete
from rtmsd.recording.manifest.schema import Manifest, read_manifest
from rtmsd.recording.verify.verify import missing
from rtmsd.recording.writers import Writers


async def gather_now(gatherer: Gatherer, writers: Writers, rtms_stream_id: str) -> dict[str, Any]:
    """Gather a stream, unless that was done, and describe the joined recording.

    Returns:
        `{rtms_stream_id, directory, parts, gaps, missing_ms, elsewhere_ms, media_ms}`: `parts` are the members that
        were joined, and `elsewhere_ms` has those that were not.

    Raises:
        GatherError: as `Gatherer.gather`; or there is nothing to join.
        EngineError, OSError, RtmsdError: as that.
    """
    await gatherer.gather(rtms_stream_id)
    for root in writers.directories:
        found: dict[str, Any] | None = await writers[root].run_sync(_describe, root, rtms_stream_id)
        if found is not None:
            return found
    raise GatherError("there is no recording of the stream")


def _describe(root: Path, rtms_stream_id: str) -> dict[str, Any] | None:
    directory = stream_directory(root, 0, rtms_stream_id)
    manifest = read_manifest(directory) if directory.is_dir() else None
    if manifest is None:
        return None
    if manifest.parts is UNSET:
        raise GatherError(_why_not(manifest))
    return {
        "rtms_stream_id": rtms_stream_id,
        "directory": str(directory),
        "parts": [part.node for part in manifest.parts],
        **missing(directory)._asdict(),
    }


def _why_not(manifest: Manifest) -> str:
    if manifest.state == RecordingState.REVOKED:
        return "Zoom revoked the stream: its recording was deleted"
    if manifest.state not in FINAL_STATES:
        return "the stream did not end there"
    if is_incomplete(manifest):
        return "the stream went on with another member, or no other member has a part of it any more"
    return "all of the stream was recorded there: there is nothing to join"
