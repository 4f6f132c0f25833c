"""Trials of several workers: one of them is killed, and webhooks come to the one that does not have the stream."""

import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.benchmarks import joins
from tests.benchmarks.daemon import Daemon, Program
from tests.benchmarks.figures import percentile
from tests.benchmarks.frames import AUDIO_BYTES, CLOCK_BYTES, PERIOD_BYTES
from tests.benchmarks.loads import WORKERS, Load
from tests.benchmarks.measure import PATIENCE_S, SETTLE_S, Certificates, stage
from tests.benchmarks.posting import Webhook
from tests.benchmarks.processes import cpu_s, wait_until, waited_for_core_s

_PERIOD_MS: Final = 20
_AGAIN_READY_S: Final = 30.0
_PER_S: Final = 50.0
_ANSWER_S: Final = 30.0
_CONNECTIONS: Final = 64  # of which the kernel gives some to each worker
_PATTERN: Final = bytes(range(PERIOD_BYTES))  # in each payload behind its clock


def killed_worker(certificates: Certificates, streams: int = 200) -> dict[str, Any]:
    """SIGKILL of the busier of two workers beneath paced streams: when are its streams back, and what was lost?

    Loss is judged by the files: each payload has the time of its sending in it. `survivor_cpu_ms` is what the other
    worker took until all were back; for `survivor_waited_ms` of that time it was ready to run, and had no core.
    """
    with stage(Load(streams, _PERIOD_MS, workers=WORKERS), certificates) as on:
        on.zoom.pace("audio", _PERIOD_MS)
        time.sleep(2 * SETTLE_S)
        owned = _owners(on.daemon, on.streams)
        victim = Counter(owned.values()).most_common(1)[0][0]
        orphans = {stream for stream, worker in owned.items() if worker == victim}
        pids = _pids(on.daemon)
        pid = pids.pop(victim)
        (survivor,) = pids.values()
        survivor_s = cpu_s(survivor), waited_for_core_s(survivor)
        os.kill(pid, signal.SIGKILL)
        killed_ns = time.monotonic_ns()
        time.sleep(0.05)  # the sockets of the dead are closed
        on.zoom.wait_ready(streams, PATIENCE_S)
        survivor_cpu_s, survivor_waited_s = cpu_s(survivor) - survivor_s[0], waited_for_core_s(survivor) - survivor_s[1]
        ready_ns = on.zoom.ready()
        wait_until(lambda: pid != _pids(on.daemon).get(victim) is not None, _AGAIN_READY_S, "new life of the worker")
        time.sleep(SETTLE_S)
        on.zoom.halt()
        time.sleep(SETTLE_S)
        report = on.zoom.report()
        on.daemon.stop_streams(on.streams)
        sent = Counter(report["sent"]) + Counter(report["gone"])
        kept = {stream: _clocks(on.daemon.directory, stream) for stream in on.streams}
    back_ms = [(ready_ns[stream] - killed_ns) / 1e6 for stream in orphans]
    lost_ms = {stream: _PERIOD_MS * (sent[stream] - len(set(kept[stream]))) for stream in on.streams}
    return {
        "orphans": len(orphans),
        "back_p50_ms": percentile(back_ms, 50),
        "back_p99_ms": percentile(back_ms, 99),
        "survivor_cpu_ms": 1000 * survivor_cpu_s,
        "survivor_waited_ms": 1000 * survivor_waited_s,
        "lost_p50_ms": percentile([lost_ms[stream] for stream in orphans], 50),
        "lost_max_ms": max(lost_ms[stream] for stream in orphans),
        "others_lost_ms": sum(lost_ms[stream] for stream in on.streams if stream not in orphans),
        "others_reconnected": sum(stream not in orphans and stream in report["gone"] for stream in on.streams),
        "doubled": sum(len(clocks) - len(set(clocks)) for clocks in kept.values()),
        "skipped": report["skipped"],
        "sender_late_p99_ms": report["late_ms"]["99"],
    }


def life(certificates: Certificates) -> dict[str, Any]:
    """CPU time of a stream's life, of all processes. See `joins.life`."""
    return joins.life(certificates, tls=False, program=Program(workers=WORKERS))


def webhooks_elsewhere(certificates: Certificates, count: int = 200) -> dict[str, Any]:
    """Starts and stops that come to the worker that has the stream, or gets it, and to the other one.

    `here`, `elsewhere`: when they were answered. New streams are shared out, so half of the starts are for the other.
    """
    with stage(Load(100, 100, workers=WORKERS), certificates) as on:
        on.zoom.pace("audio", 100)
        time.sleep(SETTLE_S)
        doors = _doors(on.daemon)
        streams = [f"late-{number:04d}" for number in range(count)]
        came_to = {stream: sorted(doors)[number % len(doors)] for number, stream in enumerate(streams)}
        starts = _deliver(doors, [(came_to[stream], on.daemon.start(stream)) for stream in streams])
        on.zoom.wait_ready(100 + count, PATIENCE_S)
        owned = _owners(on.daemon, streams)
        other = {worker: next(each for each in doors if each != worker) for worker in doors}
        goes_to = {
            stream: other[owned[stream]] if number % 2 else owned[stream] for number, stream in enumerate(streams)
        }
        stops = _deliver(
            doors,
            [(goes_to[each], on.daemon.webhook("rtms_stopped", each, stop_reason=6)) for each in streams],
        )
        on.zoom.halt()
    found: dict[str, Any] = {"refused": sum(status != 200 for _, status in (*starts.values(), *stops.values()))}
    for what, answers, received in (("start", starts, came_to), ("stop", stops, goes_to)):
        for where in ("here", "elsewhere"):
            ms = [answers[each][0] for each in streams if (received[each] == owned[each]) == (where == "here")]
            found |= {f"{what}_{where}_p{percent}_ms": percentile(ms, percent) for percent in (50, 99)}
        found[f"{what}s_elsewhere"] = sum(received[each] != owned[each] for each in streams)
    return found


def _owners(daemon: Daemon, streams: Sequence[str]) -> dict[str, str]:
    """The workers of these streams."""
    known = {each["rtms_stream_id"]: each["worker"] for each in daemon.get("/v1/streams")}
    return {stream: known[stream] for stream in streams}


def _pids(daemon: Daemon) -> dict[str, int]:
    """The processes of the workers that serve."""
    workers = daemon.get("/v1/status")["workers"]
    return {each["worker"]: each["pid"] for each in workers if each.get("phase") == "serving"}


def _clocks(directory: Path, stream: str) -> list[bytes]:
    files = directory.glob(f"recordings/*/{stream}/audio/*.wav")
    return [clock for file in files for clock in clocks(file.read_bytes())]


def clocks(data: bytes) -> Iterator[bytes]:
    """Yield the time of sending of each payload in a file, as bytes."""
    at = data.find(_PATTERN)
    while at >= 0:
        yield data[at - CLOCK_BYTES : at]
        at = data.find(_PATTERN, at + AUDIO_BYTES - CLOCK_BYTES)


# Webhooks to a worker of one's choice: over a connection that it has accepted, and keeps


def _doors(daemon: Daemon) -> Mapping[str, socket.socket]:
    """A connection to each worker."""
    found: dict[str, socket.socket] = {}
    pids = _pids(daemon)
    for _ in range(_CONNECTIONS):
        sock = socket.create_connection(("127.0.0.1", daemon.port), _ANSWER_S)
        time.sleep(0.02)  # until one has accepted it
        worker = next((each for each, pid in pids.items() if _has_socket(pid, _inode(sock))), None)
        if worker is None or worker in found:
            sock.close()
        else:
            found[worker] = sock
        if len(found) == len(pids):
            return found
    raise RuntimeError(f"{_CONNECTIONS} connections, and only these workers took any: {sorted(found)}")


def _inode(sock: socket.socket) -> str:
    """Number of the socket at the other end of this one, on this machine."""
    ends = [f"{port:04X}" for port in (sock.getpeername()[1], sock.getsockname()[1])]
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if [fields[1].rpartition(":")[2], fields[2].rpartition(":")[2]] == ends:
            return fields[9]
    return ""


def _has_socket(pid: int, inode: str) -> bool:
    descriptors = Path(f"/proc/{pid}/fd").iterdir()
    return f"socket:[{inode}]" in {str(path.readlink()) for path in descriptors if path.is_symlink()}


def _deliver(
    doors: Mapping[str, socket.socket], webhooks: Sequence[tuple[str, Webhook]]
) -> dict[str, tuple[float, int]]:
    """Deliver to these workers at a steady rate. Returns by stream after how many milliseconds which status came."""
    answers = {}
    began_s = time.monotonic()
    for number, (worker, webhook) in enumerate(webhooks):
        time.sleep(max(0.0, began_s + number / _PER_S - time.monotonic()))
        posted_ns = time.monotonic_ns()
        doors[worker].sendall(webhook.request)
        answer = b""
        while b"\r\n\r\n" not in answer:
            if not (piece := doors[worker].recv(65536)):
                raise RuntimeError(f"worker {worker} closed the connection: {answer!r}")
            answer += piece
        answers[webhook.stream] = ((time.monotonic_ns() - posted_ns) / 1e6, int(answer.split()[1]))
    return answers
