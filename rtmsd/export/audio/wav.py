"""WAV files of 16 bit; RF64 past 4 GiB. Silence is left out of a file and costs no disk, as in a recording."""

from typing import BinaryIO

from rtmsd.export.audio.mixing import Sound
from rtmsd.recording.media.wav.header import HEADER_BYTES, PcmFormat, WavHeader


def write(file: BinaryIO, sound: Sound, *, owner: int | str, stream_started_ms: int, is_stdout: bool) -> None:
    """Write a sound; its length is known, so that it can go to a pipe.

    Args:
        owner, stream_started_ms: for the header, which says whose it is, and when.
        is_stdout: silence has to be written.
    """
    form = PcmFormat(sound.rate_hz, sound.channels)
    header = WavHeader(pcm=form, start_ms=sound.start_ms, stream_started_ms=stream_started_ms, owner=owner)
    end = HEADER_BYTES + sound.length * form.block_bytes
    file.write(header.encode(end))
    for samples, block in sound.blocks:
        if block is not None:
            file.write(block)
        elif is_stdout:
            file.write(bytes(samples * form.block_bytes))
        else:
            file.seek(samples * form.block_bytes, 1)
    if not is_stdout:
        file.truncate(end)
