"""Copies of other members' parts, and of the engine's log: fetched piece by piece, and continued where an earlier try
stopped.
"""

import contextlib
import hashlib
import os
import shutil
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import msgspec
import trio

from rtmsd.cluster.engine import Bus, StreamLog
from rtmsd.cluster.parts.questions import (
    PART,
    PIECE_BYTES,
    File,
    Files,
    ListFiles,
    Readiness,
    ReadPiece,
    decode_files,
    encode,
)
from rtmsd.recording.disk.filesystem import Disk
from rtmsd.recording.disk.retrying import RunSync
from rtmsd.recording.gather.errors import GatherError
from rtmsd.recording.gather.lines import Logged
from rtmsd.recording.gather.sources import NO_LOG, EngineLog
from rtmsd.system.garbage import Garbage

LIST_S: Final = 120.0  # the other member reads all of the files for it
PIECE_S: Final = 10.0
MAX_FILES: Final = 50_000
_READ_BYTES: Final = 2**20


class Engine(Bus, StreamLog, Protocol):
    """An engine, as far as copying needs it."""


class Copier:
    """Copies, not faster than at a rate that all copies share.

    Args:
        run_sync: runs what blocks.
    """

    def __init__(self, engine: Engine, *, bytes_per_s: float, run_sync: RunSync, garbage: Garbage) -> None:
        self._engine, self._bytes_per_s, self._run_sync = engine, bytes_per_s, run_sync
        self._next_s = 0.0
        self._read_files = garbage.reader("part_files", decode_files)

    async def list_files(self, node: str, rtms_stream_id: str) -> Files:
        """Return what a member has of a stream.

        Raises:
            EngineError: it does not answer, or not as it should.
            GatherError: these are too many files.
        """
        files: tuple[File, ...] = ()
        while True:
            question = ListFiles(rtms_stream_id=rtms_stream_id, after=files[-1].path if files else None)
            found = self._read_files(await self._engine.ask(node, PART, encode(question), timeout_s=LIST_S))
            files += found.files
            if found.is_all or found.readiness is not Readiness.READY:
                return Files(found.readiness, found.nodes, files)
            if not found.files or len(files) > MAX_FILES:
                raise GatherError(f"node {node} has too many files of {rtms_stream_id}")

    async def copy(self, node: str, rtms_stream_id: str, files: Files, into: Path, root: Path) -> None:
        """Copy files into a directory below `root`, in their order: the manifest last.

        Raises:
            EngineError: the member does not answer any more, or not as it should.
            GatherError: there is no room, or a file is not what it was said to be.
            OSError: the disk refuses.
        """
        disk = Disk(root)
        await self._run_sync(partial(_prepare, disk, into, sum(file.bytes for file in files.files)))
        for file in files.files:
            path = into / file.path
            at = await self._run_sync(partial(_begun, disk, path, file))
            while at < file.bytes:
                question = ReadPiece(rtms_stream_id=rtms_stream_id, path=file.path, offset=at)
                piece = await self._engine.ask(node, PART, encode(question), timeout_s=PIECE_S)
                if not piece or len(piece) > min(PIECE_BYTES, file.bytes - at):
                    raise GatherError(f"{file.path} of node {node} is not as long as it was")
                await self._run_sync(partial(_write, disk, path, piece, at))
                at += len(piece)
                await self._pace(len(piece))
            if not await self._run_sync(partial(_is_whole, path, file)):
                await self._run_sync(partial(disk.remove, path))
                raise GatherError(f"{file.path} of node {node} has changed, or was damaged on the way")

    async def copy_log(self, rtms_stream_id: str, path: Path, root: Path) -> EngineLog:
        """Copy what the engine has of a stream's lines, behind what is in the file: older ones are forgotten there.

        Raises:
            Away: no answer.
            OSError: the disk refuses.
        """
        disk = Disk(root)
        so_far: tuple[int, int] = await self._run_sync(partial(_log_so_far, disk, path))
        at, after = so_far
        while page := await self._engine.read_log(rtms_stream_id, after=after):
            after = page[-1].place
            records = [(each.place, each.record) for each in page]
            logged = [Logged(place, each.token, each.n, dict(each.lines)) for place, each in records]
            data = b"".join(msgspec.json.encode(each) + b"\n" for each in logged)
            await self._run_sync(partial(_write, disk, path, data, at))
            at += len(data)
            await self._pace(len(data))
        return EngineLog(path) if at else NO_LOG

    async def _pace(self, size_bytes: int) -> None:
        self._next_s = max(self._next_s, trio.current_time()) + size_bytes / self._bytes_per_s
        await trio.sleep_until(self._next_s)


def _prepare(disk: Disk, into: Path, size_bytes: int) -> None:
    assert disk.root is not None
    if shutil.disk_usage(disk.root).free < size_bytes:
        raise GatherError(f"{disk.root}: no room for {size_bytes} bytes of another node's part")
    disk.make_directory(into)


def _begun(disk: Disk, path: Path, file: File) -> int:
    """Return how much of a file is there, which is made if it is not; what cannot be of it is removed."""
    if path.exists():
        size_bytes = path.stat().st_size
        if size_bytes < file.bytes or (size_bytes == file.bytes and _is_whole(path, file)):
            return size_bytes
        disk.remove(path)
    disk.make_directory(path.parent)
    os.close(disk.open(path, create=True))
    return 0


def _log_so_far(disk: Disk, path: Path) -> tuple[int, int]:
    """Return how much of a copied log is whole, and the place in the engine of its last record; the rest is cut off."""
    at = after = 0
    disk.make_directory(path.parent)
    descriptor = disk.open(path, create=not path.exists())
    try:
        with path.open("rb") as file, contextlib.suppress(msgspec.MsgspecError):
            for line in file:
                if line.endswith(b"\n"):
                    after = msgspec.json.decode(line, type=Logged).place
                    at += len(line)
        disk.truncate(descriptor, at)
    finally:
        os.close(descriptor)
    return at, after


def _write(disk: Disk, path: Path, data: bytes, at: int) -> None:
    descriptor = disk.open(path)
    try:
        disk.write(descriptor, data, at)
    finally:
        os.close(descriptor)


def _is_whole(path: Path, file: File) -> bool:
    digest = hashlib.sha256()
    with path.open("rb") as content:
        while data := content.read(_READ_BYTES):
            digest.update(data)
    return digest.hexdigest() == file.sha256
