"""Trials of the daemon alone: does one stream's flood, a stalled disk or a rush of webhooks harm the others?"""

import signal
import time
from os import kill
from pathlib import Path
from typing import Any

from rtmsd.recording.disk.file_buffer import Backlog
from rtmsd.recording.media.ogg.file import OggFile
from rtmsd.recording.media.ogg.header import OggHeader
from rtmsd.recording.media.ogg.packets import OpusFormat
from rtmsd.recording.media.ogg.track import OpusTrack
from tests.benchmarks.daemon import Daemon, Program, Taps
from tests.benchmarks.figures import latest_answer_ms, percentile
from tests.benchmarks.loads import Load
from tests.benchmarks.measure import SETTLE_S, Certificates, share_of, stage
from tests.benchmarks.posting import Posted
from tests.benchmarks.recording import all_sent, recorded

STALL_S = 2.0
_OPUS = 'codec = "OPUS"\nsample_rate_hz = 48000'


def fairness(certificates: Certificates, seconds: float) -> dict[str, Any]:
    """One stream floods beside 99 paced ones. How late are their packets, keep-alives, webhooks and admin answers?"""
    load = Load(100, 20)
    with stage(load, certificates) as on:
        flooding, paced = on.streams[-1], list(on.streams[:-1])
        on.zoom.pace("audio", 20, paced)
        time.sleep(SETTLE_S)
        taps = Taps(on.daemon, paced[::20])
        on.zoom.keep_alives(2.0)
        on.zoom.start_flood("audio", seconds, [flooding])
        admin_ms, webhooks = _look_around(on.daemon, seconds)
        report = on.zoom.report()
        taps.close()
        on.zoom.halt()
    return {
        "flooded_messages": report["sent"][flooding],
        "paced_p99_ms": percentile(taps.latencies_ms, 99),
        "keep_alive_max_ms": latest_answer_ms(report),
        "admin_max_ms": max(admin_ms),
        "webhook_max_ms": max((each.answered_ns - each.posted_ns) / 1e6 for each in webhooks),
    }


def _look_around(daemon: Daemon, seconds: float) -> tuple[list[float], list[Posted]]:
    """Ask the admin socket and deliver webhooks, a few a second."""
    admin_ms: list[float] = []
    webhooks: list[Posted] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        asked_s = time.monotonic()
        daemon.get("/v1/status")
        admin_ms.append(1000 * (time.monotonic() - asked_s))
        webhooks.append(daemon.post("rtms_stopped", f"nobody-{len(webhooks)}", stop_reason=6))
        time.sleep(0.1)
    return admin_ms, webhooks


def stalled_disk(certificates: Certificates, streams: int) -> dict[str, Any]:
    """The disk hangs for `STALL_S` while paced streams flow: nothing may be lost."""
    with stage(Load(streams, 20), certificates, program=Program("tests.benchmarks.stalling")) as on:
        on.zoom.keep_alives(2.0)
        on.zoom.pace("audio", 20)
        time.sleep(SETTLE_S)
        kill(on.daemon.pid, signal.SIGUSR1)
        time.sleep(0.5)
        pending = []
        for _ in range(5):
            pending.append(on.daemon.get("/v1/status")["disk"]["pending_bytes"])
            time.sleep(0.5)
        on.zoom.halt()
        time.sleep(SETTLE_S)
        report = on.zoom.report()
        on.daemon.stop_streams(on.streams)
        manifests = on.daemon.manifests()
    sent = sum(report["sent"].values())
    kept = sum(file["bytes"] for manifest in manifests for file in manifest["files"] if file["media"] == "audio")
    headers = sum(len(manifest["files"]) for manifest in manifests)
    return {
        "sent": sent,
        "streams": headers,
        "most_pending_bytes": max(pending),
        "lost": report["skipped"] + sent - sum(m["counters"]["messages"]["audio"] for m in manifests),
        "dropped": sum(m["counters"]["dropped"] for m in manifests),
        "gaps": sum(len(m["gaps"]) for m in manifests),
        "kept_bytes": kept,
        "keep_alive_max_ms": latest_answer_ms(report),
    }


def codecs(certificates: Certificates, seconds: float, rounds: int = 2) -> dict[str, Any]:
    """A flood of packets of 20 ms, stored: what one of Opus costs beside one of L16, to the disk. In turns.

    L16 may take the way of the accelerator, which Opus never does: `RTMSD_PURE_PYTHON=1` compares the same way.
    """
    cpu_us: dict[str, list[float]] = {"audio": [], "opus": []}
    lost = 0
    for media in list(cpu_us) * rounds:
        with stage(Load(20, 0), certificates, audio=_OPUS if media == "opus" else "") as on:
            cpu_s = on.daemon.cpu_s
            on.zoom.start_flood(media, seconds)
            sent = all_sent(on.zoom)
            cpu_us[media].append(1e6 * (on.daemon.cpu_s - cpu_s) / recorded(on.daemon, "audio", sent))
            on.daemon.stop_streams(on.streams)
            manifests = on.daemon.manifests()
        kept_ms = sum(file["duration_ms"] for manifest in manifests for file in manifest["files"])
        lost += sent - kept_ms // 20
    l16_us, opus_us = (min(values) for values in cpu_us.values())
    return {
        "l16_per_cpu_s": round(1e6 / l16_us),
        "opus_per_cpu_s": round(1e6 / opus_us),
        "opus_to_l16": l16_us / opus_us,
        "lost": lost,
    }


def opus_writer(_: Certificates, packets: int = 200_000) -> dict[str, Any]:
    """Packets of one voice through a track into pages, 25 at a time as a flush takes them, and no disk."""
    voice = [b"\xf8" + bytes((number % 251,)) * (60 + number % 40) for number in range(packets)]
    pcm = OpusFormat(48_000, 1)
    header = OggHeader(pcm=pcm, start_ms=0, stream_started_ms=0, owner=1)
    track = OpusTrack(OggFile(Path("1.opus"), Backlog(2**40), lambda file: None, header), 1, 0, pcm)
    began_s, size_bytes = time.process_time(), 0
    for number, packet in enumerate(voice):
        track.append(20 * number, packet)
        if number % 25 == 24:
            batch = track.file.take()
            size_bytes = batch.size_bytes
            track.file.written(batch)
            track.settle(0)
    return {"packets_per_s": round(packets / (time.process_time() - began_s)), "file_bytes": size_bytes}


def webhooks(certificates: Certificates, streams: int, seconds: float, per_s: float = 100.0) -> dict[str, Any]:
    """Webhooks at a steady rate while streams flow, every tenth of which starts one.

    When are they answered, and the new streams ready? What do they cost, and do keep-alives wait for them? With
    `no_core_percent` of the time waiting for a core that others had, answers are late through no fault of the daemon's.
    """

    with stage(Load(streams, 100), certificates) as on:
        requests = [
            on.daemon.webhook("rtms_stopped", f"nobody-{number:04d}", stop_reason=6)
            if number % 10
            else on.daemon.start(f"late-{number:04d}")
            for number in range(int(per_s * seconds))
        ]
        on.zoom.pace("audio", 100)
        on.zoom.keep_alives(2.0)
        time.sleep(SETTLE_S)
        streams_share = share_of(on.daemon, SETTLE_S)
        on.zoom.keep_alives(2.0)  # forgets the answers before
        began_s, cpu_s, waited_s = time.monotonic(), on.daemon.cpu_s, on.daemon.waited_for_core_s
        posted = on.daemon.deliver(requests, per_s)
        took_s, cpu_s = time.monotonic() - began_s, on.daemon.cpu_s - cpu_s
        waited_s = on.daemon.waited_for_core_s - waited_s
        report = on.zoom.report()
        started = [each for each in posted if each.stream.startswith("late-")]
        on.zoom.wait_ready(streams + len(started), 60)
        ready = on.zoom.ready()
        on.zoom.halt()
    answered_ms = [(each.answered_ns - each.posted_ns) / 1e6 for each in posted]
    return {
        "answered_p50_ms": percentile(answered_ms, 50),
        "answered_p99_ms": percentile(answered_ms, 99),
        "ready_p50_ms": percentile([(ready[each.stream] - each.posted_ns) / 1e6 for each in started], 50),
        "refused": sum(each.status != 200 for each in posted),
        "cpu_ms": 1000 * (cpu_s - streams_share * took_s) / len(posted),
        "no_core_percent": 100 * waited_s / took_s,
        "keep_alive_max_ms": latest_answer_ms(report),
    }
