"""Trials of starting and ending: joins beside running streams, a stream's whole life, a restart after a crash."""

import time
from typing import Any, Final

from tests.benchmarks.bare import handshake_ms
from tests.benchmarks.daemon import Program, Taps
from tests.benchmarks.figures import percentile
from tests.benchmarks.loads import Load
from tests.benchmarks.measure import PATIENCE_S, SETTLE_S, Certificates, Stage, share_of, stage
from tests.benchmarks.posting import Posted

_TYPES: Final = ("audio", "transcript")  # the default: three sockets a stream
_SOCKETS: Final = 1 + len(_TYPES)
_BEFORE_S: Final = 3.0


def alone(certificates: Certificates, count: int = 60) -> dict[str, Any]:
    """From webhook to ready while nothing else goes on."""
    with stage(Load(0, 0), certificates) as on:
        posted = on.daemon.start_streams(count, 10)
        on.zoom.wait_ready(count, PATIENCE_S)
        ready_ms = _ready_ms(on, posted)
        answered_ms = [(each.answered_ns - each.posted_ns) / 1e6 for each in posted]
    return {
        "ready_p50_ms": percentile(ready_ms, 50),
        "ready_p99_ms": percentile(ready_ms, 99),
        "answered_p50_ms": percentile(answered_ms, 50),
    }


def joining(certificates: Certificates, per_s: float, *, tls: bool, streams: int = 500) -> dict[str, Any]:
    """Streams start, so many a second, beside running ones of 20 ms. When are they ready, and what do those notice?"""
    count = int(2 * per_s)
    with stage(Load(streams, 20, tls=tls), certificates) as on:
        on.zoom.pace("audio", 20)
        taps = Taps(on.daemon, on.tapped())
        time.sleep(SETTLE_S)
        settled = len(taps.latencies_ms)
        time.sleep(_BEFORE_S)
        before = len(taps.latencies_ms)
        cpu_s, began_s = on.daemon.cpu_s, time.monotonic()
        posted = on.daemon.start_streams(count, per_s)
        on.zoom.wait_ready(streams + count, PATIENCE_S)
        took_s, cpu_s = time.monotonic() - began_s, on.daemon.cpu_s - cpu_s
        during = len(taps.latencies_ms)
        ready_ms = _ready_ms(on, posted)
        report = on.zoom.report()
        on.zoom.halt()
        taps.close()
    tap_p99_ms = percentile(taps.latencies_ms[settled:before], 99)
    joining_p99_ms = percentile(taps.latencies_ms[before:during], 99)
    return {
        "refused": sum(each.status not in {0, 200} for each in posted),
        "unanswered": sum(each.status == 0 for each in posted),
        "ready_p50_ms": percentile(ready_ms, 50),
        "ready_p99_ms": percentile(ready_ms, 99),
        "tap_p99_before_ms": tap_p99_ms,
        "tap_p99_during_ms": joining_p99_ms,
        "tap_p99_ratio": joining_p99_ms / tap_p99_ms if tap_p99_ms and joining_p99_ms else None,
        "core_percent": 100 * cpu_s / took_s,
        "sender_late_p99_ms": report["late_ms"]["99"],
        "skipped": report["skipped"],
    }


def life(
    certificates: Certificates, *, tls: bool, count: int = 100, per_s: float = 50.0, program: Program | None = None
) -> dict[str, Any]:
    """CPU time of a stream from webhook to finished manifest, without media, beside its bare TLS handshakes."""
    with stage(Load(0, 0, tls=tls), certificates, types=_TYPES, program=program) as on:
        idle = share_of(on.daemon, SETTLE_S)
        began_s, before_s = time.monotonic(), on.daemon.cpu_s
        posted = on.daemon.start_streams(count, per_s)
        on.zoom.wait_ready(count, PATIENCE_S)
        started_s = on.daemon.cpu_s - before_s - idle * (time.monotonic() - began_s)
        on.daemon.stop_streams([each.stream for each in posted], per_s)
        whole_s = on.daemon.cpu_s - before_s - idle * (time.monotonic() - began_s)
    found = {
        "sockets": _SOCKETS,
        "life_cpu_ms": 1000 * whole_s / count,
        "start_cpu_ms": 1000 * started_s / count,
        "end_cpu_ms": 1000 * (whole_s - started_s) / count,
    }
    return {**found, "bare_handshakes_cpu_ms": _SOCKETS * handshake_ms(certificates)} if tls else found


def restart(certificates: Certificates, streams: int = 500) -> dict[str, Any]:
    """SIGKILL, and another start with the same files: when are all streams ready again? No media flow.

    `ready_again_s` counts from the start of the process, `cpu_s` is all that it took by then.
    """
    with stage(Load(streams, 0, tls=True), certificates, types=_TYPES) as on:
        began_ns = on.daemon.kill_and_start()
        on.zoom.wait_ready(streams, PATIENCE_S)
        cpu_s = on.daemon.cpu_s
        back_s = sorted((ready_ns - began_ns) / 1e9 for ready_ns in on.zoom.ready().values())
        on.daemon.wait_started()
    bare_s = streams * _SOCKETS * handshake_ms(certificates) / 1000
    return {
        "handshakes": streams * _SOCKETS,
        "first_ready_s": back_s[0],
        "ready_again_s": back_s[-1],
        "cpu_s": cpu_s,
        "bare_handshakes_cpu_s": bare_s,
        "beyond_twice_bare_s": back_s[-1] - 2 * bare_s,
    }


def _ready_ms(on: Stage, posted: list[Posted]) -> list[float]:
    ready = on.zoom.ready()
    return [(ready[each.stream] - each.posted_ns) / 1e6 for each in posted]
