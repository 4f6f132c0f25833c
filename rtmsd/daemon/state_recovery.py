"""The streams of a lost state file, recovered from the recordings on disk. Blocks; for a thread."""

from collections.abc import Iterator
from pathlib import Path

from rtmsd.protocol.causes import RecordingState
from rtmsd.protocol.enums import StopReason
from rtmsd.protocol.messages import SessionRef
from rtmsd.protocol.products import ID_KEYS
from rtmsd.recording.disk.paths import dates
from rtmsd.recording.manifest.schema import MANIFEST, Manifest, read_manifest
from rtmsd.state.journal import KEEP_MS
from rtmsd.state.rows import StreamRow


def rows_from_recordings(root: Path, now_ms: int) -> Iterator[StreamRow]:
    """Yield unfinished streams, and those that ended so recently that Zoom may still repeat its webhooks.

    Manifests do not hold the server's address, which is a secret: an unfinished stream is finished by the next start,
    not connected again.
    """
    for day in dates(root):
        for directory in day.iterdir():
            try:
                manifest, changed_ms = read_manifest(directory), (directory / MANIFEST).stat().st_mtime * 1000
            except OSError:
                continue
            if manifest is None or (_is_ended(manifest) and changed_ms < now_ms - KEEP_MS):
                continue
            row = _row(manifest)
            if row is not None:
                yield row


def _is_ended(manifest: Manifest) -> bool:
    return manifest.ended_ms is not None or manifest.state == RecordingState.REVOKED


def _row(manifest: Manifest) -> StreamRow | None:
    """Return the stream of a manifest; None where fields are missing."""
    product, app, id_key, session_id = manifest.product, manifest.app, manifest.id_key, manifest.id
    if not isinstance(product, str) or not isinstance(app, str) or not isinstance(session_id, str):
        return None
    key = next((key for key in ID_KEYS if key == id_key), None)
    if key is None:
        return None
    is_ended, reason = _is_ended(manifest), manifest.stop_reason
    if manifest.state == RecordingState.REVOKED:
        reason = int(StopReason.STREAM_REVOKED)
    started_again = [pause.to_ms for pause in manifest.pauses if pause.why == "ended"]
    event_ts = max([manifest.started_ms, *(each for each in started_again if each is not None)])
    return StreamRow(
        rtms_stream_id=manifest.rtms_stream_id,
        product=product,
        session=SessionRef(key, session_id),
        app=app,
        server_urls=None,
        started_ms=manifest.started_ms,
        event_ts=event_ts,
        stop_reason=(reason if isinstance(reason, int) else 0) if is_ended else None,
        stopped_ms=(manifest.ended_ms or event_ts) if is_ended else None,
        closed=is_ended,
    )
