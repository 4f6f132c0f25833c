"""Label sets known in advance: all are there at 0 from the start, compared with the enums."""

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from rtmsd.daemon.health import TroubleCode
from rtmsd.protocol.causes import OUTAGE_CAUSES
from rtmsd.protocol.enums import MediaType, StopReason
from rtmsd.protocol.media_types import NAMES
from rtmsd.streams.summary import reason_label
from rtmsd.webhook.stats import Result
from tests.daemon.whole import config, running_daemon

OTHERS = {"rtmsd_build_info", "rtmsd_directory_free_bytes"}  # labelled by version, and by directory


async def test_a_fresh_daemon_has_all_label_sets_at_0(tmp_path: Path) -> None:
    async with running_daemon(config(tmp_path)) as backend:
        text = backend.metrics().decode()
    found: dict[str, set[tuple[str, ...]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.labels and not sample.name.endswith("_bucket") and sample.name not in OTHERS:
                assert sample.value == 0, sample
                found.setdefault(sample.name, set()).add(tuple(sample.labels[name] for name in sorted(sample.labels)))
    media = {NAMES[bit] for bit in MediaType if bit is not MediaType.ALL}
    ended = {
        ("stream_revoked", "revoked") if reason is StopReason.STREAM_REVOKED else (reason_label(reason), "ended")
        for reason in StopReason
    }
    assert found == {
        "rtmsd_streams": {
            (state,) for state in ("connecting", "active", "paused", "recovering", "ended", "failed", "revoked")
        },
        "rtmsd_streams_ended_total": ended | {("other", "ended"), ("none", "failed")},
        "rtmsd_media_messages_total": {(name,) for name in media},
        "rtmsd_media_bytes_total": {(name,) for name in media},
        "rtmsd_media_dropped_total": {(name, reason) for name in media for reason in ("no_room", "files")}
        | {("audio", "late"), ("events", "no_room")},
        "rtmsd_webhooks_total": {(result.value,) for result in Result},
        "rtmsd_reconnects_total": {(result, cause.value) for cause in OUTAGE_CAUSES for result in ("ok", "failed")},
        "rtmsd_unknown_total": {("message",), ("event",), ("event_code",), ("field",), ("value",)},
        "rtmsd_keep_alives_total": {("signaling",), ("media",)},
        "rtmsd_concurrency": {("main", "number"), ("main", "limit")},
        "rtmsd_degraded": {(code.value,) for code in TroubleCode},
    }


def test_unknown_reasons_share_one_label() -> None:
    assert reason_label(6) == "meeting_ended"
    assert reason_label(4711) == "other"
    assert reason_label(None) == "none"
