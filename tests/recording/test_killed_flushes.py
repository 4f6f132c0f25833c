"""A daemon that is killed while it writes the first of a file: its successor continues, and nothing is left over."""

from collections.abc import Sequence
from typing import Any

import pytest

from rtmsd.recording.disk.filesystem import Disk
from rtmsd.recording.verify.verify import verify


class Killed(BaseException):
    """No `except Exception` cleans up behind it, as nothing does behind a kill."""


class KilledDisk(Disk):
    """Pulls the plug behind the first samples, before their header says how many there are."""

    def write_pieces(self, descriptor: int, pieces: Sequence[bytes], offset: int) -> None:
        super().write_pieces(descriptor, pieces, offset)
        if offset:
            raise Killed


async def test_a_wav_whose_first_flush_was_cut_off_is_continued(studio: Any, tools: Any) -> None:
    sound = studio.disk
    first = await studio.open()
    first.connected("media", frozenset({"audio"}))
    await studio.writer.flush()  # the manifest, without the file
    studio.writer.disk = KilledDisk()
    first.media.audio(7, "Bo", tools.T, tools.packet(0))
    with pytest.raises(Killed):
        await studio.writer.flush()
    studio.disk = sound
    second = await studio.open()
    second.connected("media", frozenset({"audio"}))
    second.media.audio(7, "Bo", tools.T + 20, tools.packet(1))
    second.ended(6, tools.T + 40)
    await second.finish()
    assert [path.name for path in (second.directory / "audio").iterdir()] == ["7.wav"]
    assert tools.samples(second.directory / "audio/7.wav") == tools.packet(0) + tools.packet(1)
    assert verify(second.directory) == []
