"""The daemon under a load: recording with nobody listening, then with taps open, each a row of its own."""

import time
from typing import Any, Final

from rtmsd.recording.media.wav.header import HEADER_BYTES
from tests.benchmarks.daemon import Daemon, Taps
from tests.benchmarks.figures import Figures, keep_alives, percentile
from tests.benchmarks.frames import payload_bytes
from tests.benchmarks.loads import Load
from tests.benchmarks.measure import PATIENCE_S, SETTLE_S, Certificates, Stage, ask_keep_alives, stage
from tests.benchmarks.processes import LoadGenerator, wait_until

RTMSD: Final = "rtmsd"
TAPPED_RTMSD: Final = "rtmsd, tapped"
TAPPED_FLOOD_S: Final = 1.5


def measure_rtmsd(load: Load, certificates: Certificates) -> dict[str, Figures]:
    """Let the daemon record: webhook to files on disk. What was lost is judged once, at the end, for both rows."""
    with stage(load, certificates) as on:
        ask_keep_alives(on.zoom, load)
        rows = _paced(on, load) if load.period_ms else _flooded(on, load)
        sent = all_sent(on.zoom)
        report = on.zoom.report()
        recorded(on.daemon, load.media, sent)
        status = on.daemon.get("/v1/status")["disk"]
        ready_ms = on.ready_ms
        on.daemon.stop_streams(on.streams)
        unsynced_s = status.get("unsynced_max_s")
        lost = sent - _in_files(on.daemon, load.media, payload_bytes(load.media, load.period_ms or 20))
        common: dict[str, Any] = {
            **keep_alives(report),
            "lost": report["skipped"] + lost,
            "skipped": report["skipped"],
            "sender_late_ms": report["late_ms"]["99"],
            "dropped": _dropped(on.daemon),
            "unsynced_ms": None if unsynced_s is None else 1000 * unsynced_s,
        }
        quiet: dict[str, Any] = {
            "rss_kb": on.rss_kb if load.streams else None,
            "webhook_p99_ms": percentile([(each.answered_ns - each.posted_ns) / 1e6 for each in on.posted], 99),
            "ready_p50_ms": percentile(ready_ms, 50),
        }
    return {
        RTMSD: Figures(**rows[RTMSD], **common, **quiet),
        TAPPED_RTMSD: Figures(**rows[TAPPED_RTMSD], **common),
    }


def _flooded(on: Stage, load: Load) -> dict[str, dict[str, Any]]:
    size = payload_bytes(load.media, 20)

    def flood(seconds: float) -> dict[str, Any]:
        before_s, before = on.daemon.cpu_s, on.daemon.received(load.media)
        on.zoom.start_flood(load.media, seconds)
        messages = recorded(on.daemon, load.media, all_sent(on.zoom)) - before
        cpu_s = on.daemon.cpu_s - before_s
        return {
            "messages": messages,
            "cpu_us": 1e6 * cpu_s / max(1, messages),
            "payload_mb_per_s": messages * size / cpu_s / 1e6,
        }

    quiet = flood(load.seconds)
    taps = Taps(on.daemon, on.tapped(), load.media)
    tapped = flood(min(load.seconds, TAPPED_FLOOD_S))
    taps.close()
    return {RTMSD: quiet, TAPPED_RTMSD: {**tapped, **_ages(taps)}}


def _paced(on: Stage, load: Load) -> dict[str, dict[str, Any]]:
    def watch() -> dict[str, Any]:
        began_s, cpu_s, sender_s = time.monotonic(), on.daemon.cpu_s, on.zoom.cpu_s
        messages = on.zoom.sent()
        time.sleep(load.seconds)
        messages = on.zoom.sent() - messages
        cpu_s, took_s = on.daemon.cpu_s - cpu_s, time.monotonic() - began_s
        return {
            "messages": messages,
            "cpu_us": 1e6 * cpu_s / max(1, messages),
            "core_percent": 100 * cpu_s / took_s,
            "sender_core_percent": 100 * (on.zoom.cpu_s - sender_s) / took_s,
        }

    on.zoom.pace(load.media, load.period_ms)
    time.sleep(SETTLE_S)
    quiet = watch()
    taps = Taps(on.daemon, on.tapped(), load.media)
    time.sleep(SETTLE_S / 2)  # what waited while nobody listened is out by then
    settled = len(taps.latencies_ms)
    tapped = watch()
    on.zoom.halt()
    time.sleep(0.2)
    taps.close()
    return {RTMSD: quiet, TAPPED_RTMSD: {**tapped, **_ages(taps, settled)}}


def _ages(taps: Taps, since: int = 0) -> dict[str, float | None]:
    ages_ms = taps.latencies_ms[since:]
    return {"p50_ms": percentile(ages_ms, 50), "p99_ms": percentile(ages_ms, 99)}


def all_sent(zoom: LoadGenerator) -> int:
    """Wait until a flood has ended and the kernel has all of it, and return how many messages were sent so far."""
    zoom.wait_flooded(PATIENCE_S)
    return zoom.sent()


def recorded(daemon: Daemon, media: str, sent: int) -> int:
    """Wait until all that was sent is on disk, and return how much that is."""
    wait_until(lambda: daemon.received(media) >= sent, PATIENCE_S, "the last message", 0.1)
    wait_until(lambda: not daemon.get("/v1/status")["disk"]["pending_bytes"], PATIENCE_S, "everything on disk", 0.05)
    return daemon.received(media)


def _in_files(daemon: Daemon, media: str, size: int) -> int:
    """Count the messages in the files, by their sizes."""
    pattern, header_bytes = ("audio/*.wav", HEADER_BYTES) if media == "audio" else ("video/*.mjpeg", 0)
    files = daemon.directory.glob(f"recordings/*/*/{pattern}")
    return sum(file.stat().st_size - header_bytes for file in files) // size


def _dropped(daemon: Daemon) -> int:
    """Count what the daemon says that it had no room for."""
    return sum(manifest["counters"]["dropped"] for manifest in daemon.manifests())
