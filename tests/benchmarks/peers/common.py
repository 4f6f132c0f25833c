"""The parts that the Python peers share: decoding, counting, and the two lines a peer prints.

A peer is started as `SCRIPT URL COUNT [TLS_CA]`, opens COUNT sockets at URL/bare/N, makes the media handshake on each,
prints `{"ready": true}`, receives until all are closed, and prints what it received and the CPU time that took.
These scripts run in the benchmark's own environment, without rtmsd.
"""

import base64
import json
import ssl
import struct
import sys
import time

import msgspec

HANDSHAKE = json.dumps(
    {
        "msg_type": 3,
        "protocol_version": 1,
        "session_id": "s",
        "rtms_stream_id": "r",
        "signature": "0" * 64,
        "media_type": 1,
        "media_params": {"audio": {"content_type": 2, "sample_rate": 1, "channel": 1, "codec": 1, "data_opt": 2}},
    }
)
SAMPLED = 5  # on so many sockets the age of each message is noted
URL, COUNT = sys.argv[1], int(sys.argv[2])
CA = sys.argv[3] if len(sys.argv) > 3 else None


class Content(msgspec.Struct, gc=False):
    timestamp: int
    data: bytes
    user_id: int


class Message(msgspec.Struct, gc=False):
    msg_type: int
    content: Content


decode_fast = msgspec.json.Decoder(Message).decode


def payload_fast(raw):
    """Return the payload of a media message by the fastest decoder there is in Python."""
    return decode_fast(raw).content.data


def payload_plain(raw):
    """Return the payload as Zoom's samples get it."""
    return base64.b64decode(json.loads(raw)["content"]["data"])


def url(number):
    return f"{URL}/bare/{number:04d}"


def ssl_context():
    return ssl.create_default_context(cafile=CA) if CA else None


class Tally:
    """Counts what comes in on all sockets; `take` is called with each raw message."""

    def __init__(self, payload=payload_fast):
        self.payload = payload
        self.messages = 0
        self.data_bytes = 0
        self.ages_ns = []
        self.ready = 0
        self.closed = 0
        self.last_cpu_s = 0.0

    def opened(self):
        """A socket's handshake was answered."""
        self.ready += 1
        if self.ready == COUNT:
            self.cpu_s = time.process_time()
            print(json.dumps({"ready": True}), flush=True)

    def take(self, number, raw):
        data = self.payload(raw)
        self.messages += 1
        self.data_bytes += len(data)
        if number < SAMPLED:
            self.note_age(data)

    def note_age(self, data):
        sent_ns = struct.unpack_from("<q", data)[0]
        if sent_ns:
            self.ages_ns.append(time.monotonic_ns() - sent_ns)

    def report(self, cpu_s=None):
        cpu_s = (time.process_time() if cpu_s is None else cpu_s) - self.cpu_s
        ages = [age / 1e6 for age in self.ages_ns]
        print(
            json.dumps(
                {"messages": self.messages, "data_bytes": self.data_bytes, "cpu_s": cpu_s, "latencies_ms": ages}
            ),
            flush=True,
        )
