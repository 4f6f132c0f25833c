"""Files of a live recording taken away: the daemon records the loss as gaps, and loses nothing else."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from tests.faults.process import open_stage, until
from tests.faults.reckoning import end_all, sum_of


def only_recording(recordings: Path) -> Path:
    [directory] = recordings.glob("*/*")
    return directory


def remove_all(directory: Path) -> None:
    while directory.exists():  # the daemon may add a file meanwhile
        shutil.rmtree(directory, ignore_errors=True)


def remove_audio(directory: Path) -> None:
    for path in (directory / "audio").iterdir():
        path.unlink()


def link_audio(directory: Path) -> None:
    """Replace the directory by a link to a copy of it."""
    (directory / "audio").rename(directory.parents[2] / "elsewhere")
    (directory / "audio").symlink_to(directory.parents[2] / "elsewhere")


def move_away(directory: Path) -> None:
    directory.rename(directory.parents[2] / "away")


@pytest.mark.parametrize("take", [remove_all, remove_audio, link_audio, move_away])
async def test_exactly_the_removed_media_are_a_gap(place: Path, take: Callable[[Path], None]) -> None:
    async with open_stage(place) as stage:
        daemon = stage.daemon
        await daemon.start()
        session = await stage.zoom.start_session()
        recordings = Path(str(daemon.sections["recording"]["directory"]))
        await until(lambda: list(recordings.glob("*/*/audio/*.wav")))
        await trio.sleep(1)
        directory = only_recording(recordings)
        take(directory)
        await daemon.until_logged("files of a recording were damaged by others")
        await until(lambda: list(recordings.glob("*/*/audio/*-2.wav")))
        await trio.sleep(1)
        total = sum_of(await end_all(daemon, [session]))
        assert await daemon.stop() == 0
    assert not total.faults
    assert total.recorded
    assert set(total.gaps) == {"damaged"}
    events = [json.loads(line) for line in (directory / "events.jsonl").read_bytes().splitlines()]
    assert any(event["kind"] == "file_damaged" and event["media"] == "audio" for event in events)
