"""The cost of the work without a daemon: one message decoded, one TLS handshake. Floors for the ratios of a run."""

import json
import socket
import ssl
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from tests.benchmarks.figures import Figures
from tests.benchmarks.frames import Frames, payload_bytes
from tests.benchmarks.measure import Certificates
from tests.benchmarks.processes import load_generator

MSGSPEC_ALONE: Final = "msgspec alone"
NODE_ALONE: Final = "Node alone"
_DECODED: Final = {"audio": 40_000, "video": 2_000}
_REPEATED: Final = 5
_HANDSHAKES: Final = 200
_NODE_S: Final = 60.0


class _Content(msgspec.Struct, gc=False):
    timestamp: int
    data: bytes
    user_id: int


class _Message(msgspec.Struct, gc=False):
    msg_type: int
    content: _Content


def _text(media: str) -> bytes:
    """The JSON of a message, without its frame."""
    buffer = bytes(Frames(media, 20).buffer)
    return buffer[buffer.index(b"{") :]


def msgspec_alone(media: str) -> Figures:
    """Decode the same message again and again: JSON and base64 into a struct."""
    decode, text, count = msgspec.json.Decoder(_Message).decode, _text(media), _DECODED[media]

    def once_s() -> float:
        began_s = time.thread_time()
        for _ in range(count):
            decode(text)
        return time.thread_time() - began_s

    return _figures(once_s, media, count)


def node_alone(media: str, script: Path) -> Figures:
    """The same in Node, as Zoom's JavaScript sample does it."""
    count = _DECODED[media]

    def once_s() -> float:
        done = subprocess.run(
            ["node", str(script), str(count)], input=_text(media), check=True, capture_output=True, timeout=_NODE_S
        )
        return float(json.loads(done.stdout)["cpu_s"])

    return _figures(once_s, media, count)


def _figures(once_s: Callable[[], float], media: str, count: int) -> Figures:
    cpu_s = statistics.median(once_s() for _ in range(_REPEATED))
    return Figures(
        messages=count,
        cpu_us=1e6 * cpu_s / count,
        lost=0,
        payload_mb_per_s=payload_bytes(media, 20) * count / cpu_s / 1e6,
    )


def handshake_ms(certificates: Certificates) -> float:
    """CPU time of one TLS handshake on the client's side, certificate verified, TCP connection included."""
    context = ssl.create_default_context(cafile=str(certificates.ca))
    with load_generator(certificates.server) as zoom:
        address = ("127.0.0.1", int(zoom.url.rpartition(":")[2]))
        began_s = time.thread_time()
        for _ in range(_HANDSHAKES):
            with socket.create_connection(address) as sock, context.wrap_socket(sock, server_hostname="127.0.0.1"):
                pass
        return 1000 * (time.thread_time() - began_s) / _HANDSHAKES
