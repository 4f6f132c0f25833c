"""The header of a WAV, read as any other program would read it, without the code that writes it.

Sources: EBU Tech 3285 (`bext`), EBU Tech 3306 (RF64).
"""

import os
import struct
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

_UINT32_MAX: Final = 2**32 - 1


class Wave(NamedTuple):
    """The format of a WAV, and where its samples are."""

    rate_hz: int
    channels: int
    block_bytes: int
    data_offset: int
    data_bytes: int
    bext: "Bext | None"


class Bext(NamedTuple):
    """The chunk with the owner, the start of the stream, and the samples since its midnight."""

    description: bytes
    started: str
    samples: int


def read_wave(path: Path) -> Wave:
    """Read the chunks of a RIFF or RF64 file up to its data.

    Raises:
        ValueError: no WAV with 16-bit PCM, naming what is wrong.
    """
    with path.open("rb") as file:
        return read_wave_file(file)


def read_wave_file(file: BinaryIO) -> Wave:
    """As `read_wave`, of a file that is open, at its beginning; it is left where the samples begin."""
    magic, riff_bytes, kind = struct.unpack("<4sI4s", _exactly(file, 12))
    if magic not in {b"RIFF", b"RF64"} or kind != b"WAVE":
        raise ValueError("not a WAV file")
    form: tuple[int, ...] | None = None
    bext: Bext | None = None
    long_bytes: tuple[int, int] | None = None
    while True:
        chunk, size = struct.unpack("<4sI", _exactly(file, 8))
        if chunk == b"data":
            break
        content = _exactly(file, size + size % 2)
        try:
            if chunk == b"fmt ":
                form = struct.unpack_from("<HHIIHH", content)
            elif chunk == b"bext":
                bext = _read_bext(content)
            elif chunk == b"ds64":
                long_bytes = struct.unpack_from("<QQ", content)
        except struct.error:
            raise ValueError(f"chunk {chunk!r} is too short") from None
    data_offset = file.tell()
    if form is None or form[0] != 1 or form[5] != 16 or not form[1] or not form[2] or form[4] != 2 * form[1]:
        raise ValueError("no 16-bit PCM")
    if form[3] != form[2] * form[4]:
        raise ValueError(f"{form[3]} bytes a second cannot be")
    if magic == b"RF64":
        if long_bytes is None:
            raise ValueError("RF64 without ds64")
        riff_bytes, size = long_bytes
    elif _UINT32_MAX in {riff_bytes, size}:
        raise ValueError("too long for RIFF")
    if riff_bytes != data_offset + size - 8:
        raise ValueError(f"RIFF length {riff_bytes} does not fit {size} bytes of samples")
    return Wave(form[2], form[1], form[4], data_offset, size, bext)


def _read_bext(content: bytes) -> Bext:
    description, date, time, samples = struct.unpack_from("<256s64x10s8sQ", content)
    started = f"{date.decode(errors='replace')} {time.decode(errors='replace')}"
    return Bext(description.rstrip(b"\0"), started, samples)


def _exactly(file: BinaryIO, size: int) -> bytes:
    content = file.read(size) if size <= os.fstat(file.fileno()).st_size else b""
    if len(content) < size:
        raise ValueError("ends within its header")
    return content
