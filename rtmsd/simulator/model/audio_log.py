"""The log of one participant's audio packets, each with its fate. Times as in `record`."""

import time
from array import array
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from rtmsd.protocol.media_params import AudioFormat
from rtmsd.simulator.model.fate import ARRIVED, Fate


class AudioSource(Protocol):
    """One participant's (or the mix's) audio in one format."""

    @property
    def format(self) -> AudioFormat: ...

    def packet(self, number: int) -> bytes: ...

    def encoded(self, number: int) -> tuple[bytes, int]:
        """Return a packet in base64, and its size without."""


class AudioPacket(NamedTuple):
    """One packet and its fate. `number` counts steps of the session's time, in whatever format: no packet shares it."""

    user_id: int
    number: int
    timestamp_ms: int
    duration_ms: int
    fate: Fate
    connection: int
    sent_s: float
    data: bytes


class AudioLog:
    """All packets of one participant in the order of their fate, 33 bytes each: their source makes the data again."""

    def __init__(self, user_id: int) -> None:
        self.user_id = user_id
        self._numbers = array("q")
        self._timestamps_ms = array("q")
        self._fates = bytearray()
        self._connections = array("q")
        self._sent_s = array("d")
        self._sources: list[tuple[int, AudioSource]] = []  # (first row, source of the data)

    def add(self, number: int, timestamp_ms: int, fate: Fate, connection: int, source: AudioSource) -> None:
        if not self._sources or self._sources[-1][1] is not source:
            self._sources.append((len(self._fates), source))
        self._numbers.append(number)
        self._timestamps_ms.append(timestamp_ms)
        self._fates.append(fate)
        self._connections.append(connection)
        self._sent_s.append(time.monotonic())

    def revise(self, number: int, connection: int, fate: Fate) -> None:
        """Correct the fate of a packet that was sent on `connection` a short time ago."""
        for row in range(len(self._fates) - 1, -1, -1):
            if self._numbers[row] == number and self._connections[row] == connection:
                self._fates[row] = fate
                return

    def __len__(self) -> int:
        return len(self._fates)

    @property
    def newest_ms(self) -> int:
        """The timestamp of the last packet; 0 without one."""
        return self._timestamps_ms[-1] if self._timestamps_ms else 0

    def __iter__(self) -> Iterator[AudioPacket]:
        bounds = [*(first for first, _ in self._sources), len(self)]
        for (first, source), end in zip(self._sources, bounds[1:], strict=True):
            for row in range(first, end):
                number = self._numbers[row]
                yield AudioPacket(
                    self.user_id,
                    number,
                    self._timestamps_ms[row],
                    source.format.send_rate_ms,
                    Fate(self._fates[row]),
                    self._connections[row],
                    self._sent_s[row],
                    source.packet(number),
                )

    def arrived(self) -> list[AudioPacket]:
        """Return the packets that must be in the files: every byte of them was handed to the kernel."""
        return [packet for packet in self if packet.fate in ARRIVED]

    def count(self, *fates: Fate) -> int:
        """Return how many packets met one of `fates`, or how many arrived when none is given."""
        wanted = fates or ARRIVED
        return sum(self._fates.count(fate) for fate in wanted)

    def intervals(self, *fates: Fate) -> list[tuple[int, int]]:
        """Return the time covered by packets of these fates (default: arrived), merged, as [from_ms, to_ms)."""
        wanted = fates or ARRIVED
        spans = sorted((p.timestamp_ms, p.timestamp_ms + p.duration_ms) for p in self if p.fate in wanted)
        merged: list[tuple[int, int]] = []
        for start, end in spans:
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((start, end))
        return merged

    def arrived_ms(self) -> int:
        """Return how much time the arrived packets cover, each instant counted once."""
        return sum(end - start for start, end in self.intervals())

    def timeline(self) -> tuple[int, bytes]:
        """Return (start_ms, PCM) of a perfect L16 recording: what arrived, and silence elsewhere."""
        packets = sorted(self.arrived(), key=lambda packet: packet.timestamp_ms)
        if not packets:
            return 0, b""
        start_ms = packets[0].timestamp_ms
        track = bytearray()
        for packet in packets:
            bytes_per_ms = len(packet.data) // packet.duration_ms
            at = (packet.timestamp_ms - start_ms) * bytes_per_ms
            if at > len(track):
                track.extend(bytes(at - len(track)))
            track[at : at + len(packet.data)] = packet.data
        return start_ms, bytes(track)
