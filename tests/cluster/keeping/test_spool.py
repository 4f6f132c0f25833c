"""The file of lines that wait for the engine: without it the member records all the same."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from rtmsd.cluster.keeping.spool import IN_MEMORY_BYTES, Spool


async def _in_place(work: Callable[[], Any]) -> Any:
    await trio.lowlevel.checkpoint()
    return work()


async def open_spool(path: Path) -> Spool:
    return await Spool.open(path, _in_place, limit_bytes=2**40)


def _without_log(path: Path) -> None:
    for leftover in path.parent.glob("spool-*"):
        leftover.unlink()


def _no_database(path: Path) -> None:
    path.write_bytes(b"x" * 8192)


def _holed(path: Path) -> None:
    """Its header is right."""
    content = path.read_bytes()
    path.write_bytes(content[:200] + b"\xff" * (len(content) - 200))


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [_no_database, _holed, _directory])
async def test_a_file_that_cannot_be_used_is_replaced_by_memory(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    path = tmp_path / "spool"
    spool = await open_spool(path)
    for _ in range(200):
        await spool.add("s", {"events": ("x" * 500,)})
    await spool.aclose()
    _without_log(path)
    damage(path)
    spool = await open_spool(path)
    assert (spool.limit_bytes, spool.waiting_bytes) == (IN_MEMORY_BYTES, 0)
    assert await spool.streams() == []
    await spool.add("s", {"events": ("{}",)})
    assert await spool.streams() == ["s"]
    await spool.aclose()
