"""The streams of a state file that was lost, as far as the recordings on disk know them. Blocks; for a thread."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rtmsd.protocol.enums import StopReason
from rtmsd.protocol.messages import ID_KEYS, SessionRef
from rtmsd.recording.disk.paths import MANIFEST, dates
from rtmsd.recording.recovery.repair import read_manifest
from rtmsd.state.journal import KEEP_MS
from rtmsd.state.ledger import StreamRow


def rows_from_recordings(root: Path, now_ms: int) -> Iterator[StreamRow]:
    """Yield the streams that are not finished, and those that ended so lately that Zoom may still repeat itself.

    Manifests do not hold the address of the server, which lets in whoever knows it: an unfinished stream is finished
    by the next start, not connected again.
    """
    for day in dates(root):
        for directory in day.iterdir():
            try:
                manifest, changed_ms = read_manifest(directory), (directory / MANIFEST).stat().st_mtime * 1000
            except OSError:
                continue
            if manifest is None or (_is_over(manifest) and changed_ms < now_ms - KEEP_MS):
                continue
            row = _row(manifest)
            if row is not None:
                yield row


def _is_over(manifest: dict[str, Any]) -> bool:
    return manifest["ended_ms"] is not None or manifest["state"] == "revoked"


def _row(manifest: dict[str, Any]) -> StreamRow | None:
    """Return the stream of a manifest; None where that does not say enough."""
    product, app, id_key, session_id = (manifest.get(name) for name in ("product", "app", "id_key", "id"))
    if not isinstance(product, str) or not isinstance(app, str) or not isinstance(session_id, str):
        return None
    key = next((key for key in ID_KEYS if key == id_key), None)
    if key is None:
        return None
    is_over, reason = _is_over(manifest), manifest.get("stop_reason")
    if manifest["state"] == "revoked":
        reason = int(StopReason.STREAM_REVOKED)
    started_again = [pause["to_ms"] for pause in manifest.get("pauses", []) if pause.get("why") == "ended"]
    event_ts = max([manifest["started_ms"], *(each for each in started_again if each is not None)])
    return StreamRow(
        rtms_stream_id=manifest["rtms_stream_id"],
        product=product,
        session=SessionRef(key, session_id),
        app=app,
        server_urls=None,
        started_ms=manifest["started_ms"],
        event_ts=event_ts,
        stop_reason=(reason if isinstance(reason, int) else 0) if is_over else None,
        stopped_ms=(manifest["ended_ms"] or event_ts) if is_over else None,
        closed=is_over,
    )
