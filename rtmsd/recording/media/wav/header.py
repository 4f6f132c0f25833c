"""The header of a WAV file: pure, of a fixed length, so that only its sizes change while the file grows.

RIFF (RF64 past 4 GiB) | JUNK (ds64) | bext | fmt | data. A file knows its own start: `bext` has the stream's date and
the samples since that date's midnight, so that a WAV survives the loss of the manifest.

Sources: EBU Tech 3285 (BWF, `bext` version 1), EBU Tech 3306 (RF64).
"""

import functools
import json
import struct
from datetime import UTC, datetime
from typing import ClassVar, Final

import attrs

from rtmsd.recording.disk.paths import date_of, midnight_ms

_RIFF: Final = struct.Struct("<4sI4s")
_DS64: Final = struct.Struct("<4sIQQQI")
_BEXT: Final = struct.Struct("<4sI256s32s32s10s8sQH254s")
_FMT: Final = struct.Struct("<4sIHHIIHH")
_DATA: Final = struct.Struct("<4sI")
HEADER_BYTES: Final = _RIFF.size + _DS64.size + _BEXT.size + _FMT.size + _DATA.size
SAMPLE_BYTES: Final = 2
_UINT32_MAX: Final = 2**32 - 1
_PCM: Final = 1


class BadWav(ValueError):
    """Not a WAV file of ours."""


@attrs.frozen
class PcmFormat:
    """Signed 16-bit little-endian samples, interleaved; the base of what decodes to such.

    Attributes:
        codec: its name in the manifest.
        suffix: of its files.
        mistake: the kind of corruption of a packet that is none.
    """

    codec: ClassVar[str] = "L16"
    suffix: ClassVar[str] = "wav"
    mistake: ClassVar[str] = "odd_length"

    rate_hz: int
    channels: int

    @property
    def block_bytes(self) -> int:
        """One sample of each channel."""
        return SAMPLE_BYTES * self.channels

    @property
    def bytes_per_ms(self) -> int:
        """Whole, since every rate that Zoom has is a multiple of 1000 Hz."""
        return self.rate_hz // 1000 * self.block_bytes

    def size_bytes(self, data: bytes) -> int:
        """Return the size of the samples that a packet holds, or decodes to; 0 for what is no packet."""
        return len(data) if len(data) % self.block_bytes == 0 else 0


@attrs.frozen(kw_only=True)
class WavHeader:
    """The content of a header, apart from the sizes.

    Attributes:
        start_ms: time of the first sample.
        stream_started_ms: start of the stream, from whose midnight `bext` counts.
        owner: the speaker (`user_id` or channel id).
    """

    pcm: PcmFormat
    start_ms: int
    stream_started_ms: int
    owner: int | str

    def encode(self, file_bytes: int) -> bytes:
        """Return the header of a file of that size, header included."""
        data_bytes = max(0, file_bytes - HEADER_BYTES)
        riff_bytes = HEADER_BYTES + data_bytes - 8
        if riff_bytes > _UINT32_MAX:
            head = _RIFF.pack(b"RF64", _UINT32_MAX, b"WAVE")
            sizes = _DS64.pack(b"ds64", 28, riff_bytes, data_bytes, data_bytes // self.pcm.block_bytes, 0)
        else:
            head = _RIFF.pack(b"RIFF", riff_bytes, b"WAVE")
            sizes = _DS64.pack(b"JUNK", 28, 0, 0, 0, 0)
        return head + sizes + self._description + _DATA.pack(b"data", min(data_bytes, _UINT32_MAX))

    @functools.cached_property  # the header is written with every flush
    def _description(self) -> bytes:
        """The chunks `bext` and `fmt `."""
        pcm = self.pcm
        since_midnight_ms = max(0, self.start_ms - midnight_ms(self.stream_started_ms))
        bext = _BEXT.pack(
            b"bext",
            _BEXT.size - 8,
            json.dumps({"user_id": self.owner}).encode()[:256],
            b"rtmsd",
            b"",
            date_of(self.stream_started_ms).encode(),
            datetime.fromtimestamp(self.stream_started_ms % 86_400_000 // 1000, UTC).strftime("%H:%M:%S").encode(),
            since_midnight_ms * pcm.rate_hz // 1000,
            1,
            b"",
        )
        return bext + _FMT.pack(
            b"fmt ",
            16,
            _PCM,
            pcm.channels,
            pcm.rate_hz,
            pcm.rate_hz * pcm.block_bytes,
            pcm.block_bytes,
            8 * SAMPLE_BYTES,
        )

    @classmethod
    def decode(cls, raw: bytes) -> "WavHeader":
        """Read back what `encode` made.

        Raises:
            BadWav: another layout, or too short.
        """
        if len(raw) < HEADER_BYTES:
            raise BadWav(f"{len(raw)} bytes are no header")
        at = _RIFF.size + _DS64.size
        kind, _, description, _, _, date, time, samples, _, _ = _BEXT.unpack_from(raw, at)
        form, _, coding, channels, rate_hz, _, _, bits = _FMT.unpack_from(raw, at + _BEXT.size)
        data, _ = _DATA.unpack_from(raw, at + _BEXT.size + _FMT.size)
        if raw[:4] not in {b"RIFF", b"RF64"} or (kind, form, data) != (b"bext", b"fmt ", b"data"):
            raise BadWav("not a header of rtmsd")
        if coding != _PCM or bits != 8 * SAMPLE_BYTES or channels not in {1, 2} or rate_hz < 1000 or rate_hz % 1000:
            raise BadWav(f"coding {coding}, {bits} bits, {channels} channels, {rate_hz} Hz")
        try:
            started = datetime.fromisoformat(f"{date.decode()}T{time.decode()}+00:00")
            owner = json.loads(description.rstrip(b"\0"))["user_id"]
        except (ValueError, TypeError, KeyError) as exc:
            raise BadWav(f"bext: {exc}") from None
        if not isinstance(owner, int | str):
            raise BadWav(f"bext: user_id {owner!r}")
        started_ms = int(started.timestamp()) * 1000
        return cls(
            pcm=PcmFormat(rate_hz, channels),
            start_ms=midnight_ms(started_ms) + samples * 1000 // rate_hz,
            stream_started_ms=started_ms,
            owner=owner,
        )
