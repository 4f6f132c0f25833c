"""One measurement: a load, a client, and the figures that come of it."""

import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Final

import attrs
import trustme

from rtmsd.recording.media.wav.header import HEADER_BYTES
from tests.benchmarks.daemon import Daemon, Posted, Taps, running_daemon
from tests.benchmarks.environment import RunningPeer, running_peer
from tests.benchmarks.figures import Figures, latest_answer_ms, percentile
from tests.benchmarks.frames import payload_bytes
from tests.benchmarks.loads import STARTS_PER_S, Load
from tests.benchmarks.processes import LoadGenerator, load_generator, wait_until

RTMSD: Final = "rtmsd"
SETTLE_S: Final = 1.0
PATIENCE_S: Final = 90.0
TAPPED: Final = 5
TAPPED_FLOOD_S: Final = 1.5


@attrs.frozen
class Certificates:
    """A throw-away authority, and a certificate of it for the load generator."""

    ca: Path
    server: Path

    @classmethod
    def issue(cls, directory: Path) -> "Certificates":
        authority, ca, server = trustme.CA(), directory / "ca.pem", directory / "server.pem"
        authority.cert_pem.write_to_path(str(ca))
        authority.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(str(server))
        return cls(ca, server)


def measure_peer(command: Sequence[str], load: Load, certificates: Certificates) -> Figures:
    """Let a peer receive and decode, and keep nothing."""
    one_bytes = _bytes_with_one(tuple(command), certificates, load.tls)
    with _connected_peer(command, load.streams, certificates, load.tls) as (zoom, peer):
        more_bytes = peer.rss_bytes - one_bytes
        core_percent = None
        _ask_keep_alives(zoom, load)  # of whom has signaling: most have none
        if load.period_ms:
            zoom.pace(load.media, load.period_ms)
            time.sleep(SETTLE_S)
            began_s, cpu_s = time.monotonic(), peer.cpu_s
            time.sleep(load.seconds)
            core_percent = 100 * (peer.cpu_s - cpu_s) / (time.monotonic() - began_s)
            zoom.halt()
        else:
            zoom.start_flood(load.media, load.seconds)
        zoom.wait_flooded(PATIENCE_S)
        report = zoom.report()
        sent = sum(report["sent"].values())
        zoom.close()
        result = peer.result()
    cpu_s = result["cpu_s"]
    return Figures(
        messages=result["messages"],
        cpu_us=1e6 * cpu_s / max(1, result["messages"]),
        lost=sent - result["messages"] + report["skipped"],
        core_percent=core_percent,
        p50_ms=percentile(result["latencies_ms"], 50),
        p99_ms=percentile(result["latencies_ms"], 99),
        rss_kb=more_bytes / (load.streams - 1) / 1024 if load.streams > 1 else None,
        keep_alive_ms=latest_answer_ms(report),
        payload_mb_per_s=result["data_bytes"] / cpu_s / 1e6 if cpu_s else None,
    )


@cache
def _bytes_with_one(command: tuple[str, ...], certificates: Certificates, tls: bool) -> int:
    """What a peer takes with one stream; once for all loads, since nobody floods it here."""
    with _connected_peer(command, 1, certificates, tls) as (_, peer):
        return peer.rss_bytes


@contextmanager
def _connected_peer(
    command: Sequence[str], streams: int, certificates: Certificates, tls: bool
) -> Iterator[tuple[LoadGenerator, RunningPeer]]:
    with (
        load_generator(certificates.server if tls else None) as zoom,
        running_peer(command, zoom.url, streams, certificates.ca if tls else None) as peer,
    ):
        peer.wait_ready()
        zoom.wait_ready(streams, PATIENCE_S)
        time.sleep(SETTLE_S)
        yield zoom, peer


def _ask_keep_alives(zoom: LoadGenerator, load: Load) -> None:
    zoom.keep_alives(1.0 if load.streams <= 20 else 10.0)


@attrs.frozen
class Stage:
    """A daemon with its streams up, and Zoom."""

    zoom: LoadGenerator
    daemon: Daemon
    streams: tuple[str, ...]
    posted: tuple[Posted, ...]
    rss_kb: float

    @property
    def ready_ms(self) -> list[float]:
        ready = self.zoom.ready()
        return [(ready[each.stream] - each.posted_ns) / 1e6 for each in self.posted]

    def tapped(self) -> list[str]:
        return list(self.streams[: TAPPED * 3 : 3])


@contextmanager
def stage(load: Load, certificates: Certificates, *, module: str = "rtmsd") -> Iterator[Stage]:
    """Start a daemon as a user does, and its streams by webhooks."""
    directory = Path(tempfile.mkdtemp(prefix="rtmsd-benchmark-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        zoom = stack.enter_context(load_generator(certificates.server if load.tls else None))
        daemon = stack.enter_context(
            running_daemon(
                directory / "daemon",
                zoom.url,
                ca=certificates.ca if load.tls else None,
                media=load.media,
                module=module,
            )
        )
        _warm_up(daemon, zoom)
        rss_before = daemon.rss_bytes
        posted = daemon.start_streams(load.streams, STARTS_PER_S)
        zoom.wait_ready(load.streams, PATIENCE_S)
        time.sleep(SETTLE_S)
        rss_kb = (daemon.rss_bytes - rss_before) / max(1, load.streams) / 1024
        yield Stage(zoom, daemon, tuple(sorted(each.stream for each in posted)), tuple(posted), rss_kb)


def _warm_up(daemon: Daemon, zoom: LoadGenerator) -> None:
    """One stream, so that what is loaded with the first one is not counted as its memory, nor as its time."""
    stream = f"warm-{secrets.token_hex(4)}"
    daemon.start_stream(stream)
    zoom.wait_ready(1, PATIENCE_S)
    daemon.stop_streams([stream])
    zoom.close()
    time.sleep(0.5)


def measure_rtmsd(load: Load, certificates: Certificates) -> Figures:
    """Let the daemon record: webhook to files on disk."""
    with stage(load, certificates) as on:
        if load.period_ms:
            return _paced(on, load)
        return _flooded(on, load)


def _flooded(on: Stage, load: Load) -> Figures:
    """First the CPU time, with nobody listening, then, in a second flood, the latency."""
    ready_ms, zoom, daemon = on.ready_ms, on.zoom, on.daemon
    _ask_keep_alives(zoom, load)
    before_s = daemon.cpu_s
    zoom.start_flood(load.media, load.seconds)
    received = _recorded(daemon, load.media, _all_sent(zoom))
    cpu_s = daemon.cpu_s - before_s
    taps = Taps(daemon, on.tapped(), load.media)
    zoom.start_flood(load.media, min(load.seconds, TAPPED_FLOOD_S))
    sent = _all_sent(zoom)
    _recorded(daemon, load.media, sent)
    taps.close()
    report = zoom.report()
    daemon.stop_streams(on.streams)
    size = payload_bytes(load.media, 20)
    return Figures(
        messages=received,
        cpu_us=1e6 * cpu_s / max(1, received),
        lost=_lost(daemon, load.media, sent, size),
        dropped=_dropped(daemon),
        p50_ms=percentile(taps.latencies_ms, 50),
        p99_ms=percentile(taps.latencies_ms, 99),
        rss_kb=on.rss_kb,
        keep_alive_ms=latest_answer_ms(report),
        webhook_p99_ms=percentile([(each.answered_ns - each.posted_ns) / 1e6 for each in on.posted], 99),
        ready_p50_ms=percentile(ready_ms, 50),
        payload_mb_per_s=received * size / cpu_s / 1e6,
    )


def _paced(on: Stage, load: Load) -> Figures:
    """First the CPU time, with nobody listening, then the latency."""
    ready_ms, zoom, daemon = on.ready_ms, on.zoom, on.daemon
    _ask_keep_alives(zoom, load)
    zoom.pace(load.media, load.period_ms)
    time.sleep(SETTLE_S)
    began_s, cpu_s, messages = time.monotonic(), daemon.cpu_s, sum(zoom.report()["sent"].values())
    time.sleep(load.seconds)
    cpu_s, messages = daemon.cpu_s - cpu_s, sum(zoom.report()["sent"].values()) - messages
    core_percent = 100 * cpu_s / (time.monotonic() - began_s)
    taps = Taps(daemon, on.tapped(), load.media)
    time.sleep(load.seconds)
    zoom.halt()
    sent = _all_sent(zoom)
    report = zoom.report()
    taps.close()
    _recorded(daemon, load.media, sent)
    daemon.stop_streams(on.streams)
    size = payload_bytes(load.media, load.period_ms)
    return Figures(
        messages=messages,
        cpu_us=1e6 * cpu_s / max(1, messages),
        lost=report["skipped"] + _lost(daemon, load.media, sent, size),
        dropped=_dropped(daemon),
        core_percent=core_percent,
        p50_ms=percentile(taps.latencies_ms, 50),
        p99_ms=percentile(taps.latencies_ms, 99),
        rss_kb=on.rss_kb,
        keep_alive_ms=latest_answer_ms(report),
        webhook_p99_ms=percentile([(each.answered_ns - each.posted_ns) / 1e6 for each in on.posted], 99),
        ready_p50_ms=percentile(ready_ms, 50),
    )


def _all_sent(zoom: LoadGenerator) -> int:
    """Wait until a flood has ended and the kernel has all of it, and return how many messages were sent so far."""
    zoom.wait_flooded(PATIENCE_S)
    return sum(zoom.report()["sent"].values())


def _recorded(daemon: Daemon, media: str, sent: int) -> int:
    """Wait until all that was sent is on disk, and return how much that is."""
    wait_until(lambda: daemon.received(media) >= sent, PATIENCE_S, "the last message", 0.1)
    wait_until(lambda: not daemon.get("/v1/status")["disk"]["pending_bytes"], PATIENCE_S, "everything on disk", 0.05)
    return daemon.received(media)


def _lost(daemon: Daemon, media: str, sent: int, size: int) -> int:
    """Count what is not in the files, by their sizes."""
    pattern, header_bytes = ("audio/*.wav", HEADER_BYTES) if media == "audio" else ("video/*.mjpeg", 0)
    files = daemon.directory.glob(f"recordings/*/*/{pattern}")
    return sent - sum(file.stat().st_size - header_bytes for file in files) // size


def _dropped(daemon: Daemon) -> int:
    """Count what the daemon says that it had no room for."""
    return sum(manifest["counters"]["dropped"] for manifest in daemon.manifests())
