"""One measurement: a load, a client, and the figures that come of it."""

import secrets
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Final

import attrs
import trustme

from tests.benchmarks.daemon import Daemon, Program, running_daemon
from tests.benchmarks.environment import RunningPeer, running_peer
from tests.benchmarks.figures import Figures, keep_alives, percentile
from tests.benchmarks.loads import Load
from tests.benchmarks.posting import Posted
from tests.benchmarks.processes import LoadGenerator, load_generator

SETTLE_S: Final = 1.0
PATIENCE_S: Final = 120.0
TAPPED: Final = 5


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
        core_percent = sender_percent = None
        ask_keep_alives(zoom, load)  # of whom has signaling: most have none
        if load.period_ms:
            zoom.pace(load.media, load.period_ms)
            time.sleep(SETTLE_S)
            began_s, cpu_s, sender_s = time.monotonic(), peer.cpu_s, zoom.cpu_s
            time.sleep(load.seconds)
            took_s = time.monotonic() - began_s
            core_percent, sender_percent = 100 * (peer.cpu_s - cpu_s) / took_s, 100 * (zoom.cpu_s - sender_s) / took_s
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
        sender_core_percent=sender_percent,
        sender_late_ms=report["late_ms"]["99"],
        skipped=report["skipped"],
        p50_ms=percentile(result["latencies_ms"], 50),
        p99_ms=percentile(result["latencies_ms"], 99),
        rss_kb=more_bytes / (load.streams - 1) / 1024 if load.streams > 1 else None,
        **keep_alives(report),
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


def ask_keep_alives(zoom: LoadGenerator, load: Load) -> None:
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
def stage(
    load: Load,
    certificates: Certificates,
    *,
    types: Sequence[str] = (),
    audio: str = "",
    program: Program | None = None,
) -> Iterator[Stage]:
    """Start a daemon as a user does, and its streams by webhooks, with the load's medium or these.

    Args:
        program: by default this checkout's, with the load's workers.
    """
    directory = Path(tempfile.mkdtemp(prefix="rtmsd-benchmark-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        zoom = stack.enter_context(load_generator(certificates.server if load.tls else None))
        daemon = stack.enter_context(
            running_daemon(
                directory / "daemon",
                zoom.url,
                ca=certificates.ca if load.tls else None,
                types=types or (load.media,),
                audio=audio,
                program=program or Program(workers=load.workers),
            )
        )
        _warm_up(daemon, zoom)
        rss_before = daemon.rss_bytes
        posted = daemon.start_streams(load.streams, load.starts_per_s)
        try:
            zoom.wait_ready(load.streams, PATIENCE_S)
        except TimeoutError as error:
            error.add_note(f"webhooks answered with {dict(Counter(each.status for each in posted))}")
            error.add_note(f"the daemon's last warnings: {daemon.warnings()[-5:]}")
            raise
        time.sleep(SETTLE_S)
        rss_kb = (daemon.rss_bytes - rss_before) / max(1, load.streams) / 1024
        yield Stage(zoom, daemon, tuple(sorted(each.stream for each in posted)), tuple(posted), rss_kb)


def _warm_up(daemon: Daemon, zoom: LoadGenerator) -> None:
    """One stream, so that what is loaded with the first one is not counted as its memory, nor as its time."""
    stream = f"warm-{secrets.token_hex(4)}"
    daemon.deliver([daemon.start(stream)], 1)
    zoom.wait_ready(1, PATIENCE_S)
    daemon.stop_streams([stream])
    zoom.close()
    time.sleep(0.5)


def share_of(daemon: Daemon, seconds: float) -> float:
    """How much of a core the daemon takes."""
    began_s, cpu_s = time.monotonic(), daemon.cpu_s
    time.sleep(seconds)
    return (daemon.cpu_s - cpu_s) / (time.monotonic() - began_s)
