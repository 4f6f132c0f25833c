"""Metrics: exactly the public names, right sums, and a text that Prometheus' own parser reads."""

import httpx
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from trio.testing import MockClock

from rtmsd import __version__
from rtmsd.admin.metrics import INGEST_BOUNDS_S, METRICS_TYPE, Histogram, LoopLag, Metrics, Totals
from rtmsd.admin.server import serve_metrics
from rtmsd.http.listening import open_tcp

FULL = Totals(
    streams={"active": 2, "recovering": 1},
    streams_ended={("ended", "meeting_ended"): 4, ("failed", "none"): 3},
    media_messages={"audio": 10, "transcript": 3},
    media_bytes={"audio": 6400},
    media_dropped={("audio", "buffer_full"): 4},
    webhooks={"accepted": 5, "unsigned": 1},
    reconnects={("media", "recovered"): 2},
    keep_alives={"signaling": 7},
    rtp_lost=9,
    degraded={"disk_full": 1, "disk_low": 0},
    pending_bytes=123,
    unsynced_s=0.25,
    disk_free_bytes=456,
    directory_free_bytes={"/r": 456, "/s": 789},
)


def samples(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_each_count_is_under_its_name() -> None:
    metrics = Metrics(lambda: FULL)
    metrics.ingest_latency.observe(0.004, times=20)
    metrics.sync_duration.observe(7.0)
    found = samples(metrics.render())
    expected = {
        ("rtmsd_build_info", (("version", __version__),)): 1,
        ("rtmsd_streams", (("state", "active"),)): 2,
        ("rtmsd_streams", (("state", "recovering"),)): 1,
        ("rtmsd_streams", (("state", "failed"),)): 0,
        ("rtmsd_streams_ended_total", (("reason", "meeting_ended"), ("state", "ended"))): 4,
        ("rtmsd_streams_ended_total", (("reason", "none"), ("state", "failed"))): 3,
        ("rtmsd_media_messages_total", (("media", "transcript"),)): 3,
        ("rtmsd_media_bytes_total", (("media", "audio"),)): 6400,
        ("rtmsd_media_dropped_total", (("media", "audio"), ("reason", "buffer_full"))): 4,
        ("rtmsd_webhooks_total", (("result", "unsigned"),)): 1,
        ("rtmsd_reconnects_total", (("result", "recovered"), ("scenario", "media"))): 2,
        ("rtmsd_keep_alives_total", (("connection", "signaling"),)): 7,
        ("rtmsd_rtp_lost", ()): 9,
        ("rtmsd_ingest_latency_seconds_bucket", (("le", "0.0025"),)): 0,
        ("rtmsd_ingest_latency_seconds_bucket", (("le", "0.005"),)): 20,
        ("rtmsd_ingest_latency_seconds_count", ()): 20,
        ("rtmsd_sync_seconds_bucket", (("le", "5.0"),)): 0,
        ("rtmsd_sync_seconds_bucket", (("le", "+Inf"),)): 1,
        ("rtmsd_sync_seconds_sum", ()): 7,
        ("rtmsd_event_loop_lag_seconds", ()): 0,
        ("rtmsd_degraded", (("code", "disk_full"),)): 1,
        ("rtmsd_degraded", (("code", "disk_low"),)): 0,
        ("rtmsd_pending_bytes", ()): 123,
        ("rtmsd_unsynced_seconds", ()): 0.25,
        ("rtmsd_disk_free_bytes", ()): 456,
        ("rtmsd_directory_free_bytes", (("directory", "/r"),)): 456,
        ("rtmsd_directory_free_bytes", (("directory", "/s"),)): 789,
    }
    assert {key: found.get(key) for key in expected} == expected
    assert found["rtmsd_ingest_latency_seconds_sum", ()] == pytest.approx(0.08)
    assert ("process_open_fds", ()) in found


def test_each_render_reads_the_totals_again() -> None:
    counts = {"audio": 1}
    metrics = Metrics(lambda: Totals(media_messages=counts))
    metrics.render()
    counts["audio"] = 2
    assert samples(metrics.render())["rtmsd_media_messages_total", (("media", "audio"),)] == 2


@given(durations_s=st.lists(st.floats(0, 100), max_size=50))
def test_a_histogram_counts_each_duration_in_every_bucket_that_holds_it(durations_s: list[float]) -> None:
    histogram = Histogram(INGEST_BOUNDS_S)
    for duration_s in durations_s:
        histogram.observe(duration_s)
    family = histogram.family("x", "")
    for sample in family.samples:
        if sample.name == "x_bucket":
            bound_s = float(sample.labels["le"])
            assert sample.value == sum(duration_s <= bound_s for duration_s in durations_s)


async def test_loop_lag_is_the_worst_of_the_last_half_minute(autojump_clock: MockClock) -> None:
    lag = LoopLag()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lag.measure)
        await trio.sleep(0.25)
        autojump_clock.jump(1.0)  # the loop was busy for a second: the probe due after 0.5 s runs at 1.25 s
        await trio.sleep(20)
        assert lag.worst_s == pytest.approx(0.75)
        await trio.sleep(20)
        assert lag.worst_s == 0
        nursery.cancel_scope.cancel()


async def test_the_metrics_port_serves_metrics_and_nothing_else() -> None:
    metrics = Metrics(lambda: FULL)
    async with trio.open_nursery() as nursery, httpx.AsyncClient() as client:
        [listener] = await open_tcp("admin.metrics_listen", "127.0.0.1:0")
        address = "127.0.0.1:{1}".format(*listener.socket.getsockname())
        await nursery.start(serve_metrics, [listener], metrics.render)
        answer = await client.get(f"http://{address}/metrics?x=1")
        assert (answer.status_code, answer.headers["content-type"]) == (200, METRICS_TYPE)
        assert b"rtmsd_pending_bytes 123.0" in answer.content
        assert (await client.get(f"http://{address}/v1/status")).status_code == 404
        posted = await client.post(f"http://{address}/metrics")
        assert (posted.status_code, posted.headers["allow"]) == (405, "GET, HEAD")
        nursery.cancel_scope.cancel()
