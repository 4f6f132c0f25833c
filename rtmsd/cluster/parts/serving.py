"""The server of parts: lets other members copy what is recorded here, for as long as the stream is not."""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import attrs
import structlog
from msgspec import UNSET

from rtmsd.cluster.engine import Bus, Refused
from rtmsd.cluster.parts.describing import part_of
from rtmsd.cluster.parts.questions import (
    FILES,
    PART,
    PIECE_BYTES,
    File,
    Files,
    ListFiles,
    NoteGathered,
    Readiness,
    ReadPiece,
    decode_question,
    encode,
)
from rtmsd.cluster.parts.telling import PartTeller
from rtmsd.cluster.records import PartState
from rtmsd.protocol.causes import RecordingState
from rtmsd.recording.disk.nofollow import is_file, open_below
from rtmsd.recording.disk.paths import CAPTIONS, stream_directory
from rtmsd.recording.gather.sources import nodes_of
from rtmsd.recording.manifest.lines import FILES as LINE_FILES
from rtmsd.recording.manifest.schema import MANIFEST, Manifest, read_manifest
from rtmsd.recording.writers import Writers
from rtmsd.state import parts
from rtmsd.streams.running import local_ms
from rtmsd.streams.supervisor import Supervisor
from rtmsd.system.garbage import Garbage

log = structlog.get_logger(__name__)

_READ_BYTES: Final = 2**20
_SUMS: Final = 4096  # that are remembered
_PARTS: Final = 16
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe would hold up the thread


@attrs.frozen
class _Found:
    """A part, and the directory of recordings that it is in.

    Attributes:
        names: of the files that belong to it and are there, the manifest last.
    """

    root: Path
    directory: Path
    manifest: Manifest
    names: list[str]

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[int]:
        """Open a file that belongs to it. Raises OSError."""
        descriptor = open_below(str(self.directory / name), str(self.root), _READ)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


class PartServer:
    """Answers the questions of `questions`."""

    def __init__(self, supervisor: Supervisor, writers: Writers, teller: PartTeller, *, garbage: Garbage) -> None:
        self._supervisor, self._writers, self._teller = supervisor, writers, teller
        self._sums: dict[tuple[str, int, int], str] = {}  # by path, size and time of the last change
        self._read_question = garbage.reader("part_question", decode_question)
        self._listed: dict[str, _Found] = {}  # parts that are being copied

    def serve(self, bus: Bus) -> None:
        bus.serve(PART, self.answer)

    async def answer(self, data: bytes) -> bytes:
        """Answer a question.

        Raises:
            EngineError: it is none, or what it is about is not there, or cannot be read.
        """
        question = self._read_question(data)
        try:
            match question:
                case ListFiles():
                    return encode(await self._list(question))
                case ReadPiece():
                    return await self._read(question)
                case NoteGathered():
                    await self._note(question.rtms_stream_id)
                    return b""
        except OSError as error:
            log.warning("part cannot be read", rtms_stream_id=question.rtms_stream_id, error=str(error))
            raise Refused(f"it cannot be read: {error.strerror}") from error

    async def _list(self, question: ListFiles) -> Files:
        if question.rtms_stream_id in self._supervisor.streams:
            return Files(Readiness.BUSY)
        if question.after is None:
            self._listed.pop(question.rtms_stream_id, None)
        found = await self._find(question.rtms_stream_id)
        if found is None:
            return Files(Readiness.NOTHING)
        files: Files = await self._writers[found.root].run_sync(
            self._files, found, question.after, abandon_on_cancel=True
        )
        return files

    async def _read(self, question: ReadPiece) -> bytes:
        found = await self._find(question.rtms_stream_id)
        if found is None or question.rtms_stream_id in self._supervisor.streams:
            raise Refused("nothing is recorded of it, or it is being recorded")
        if question.path not in found.names:
            raise Refused("no file of the recording has this name")
        piece: bytes = await self._writers[found.root].run_sync(_piece, found, question.path, question.offset)
        return piece

    async def _note(self, rtms_stream_id: str) -> None:
        found = await self._find(rtms_stream_id)
        if found is None or rtms_stream_id in self._supervisor.streams:
            return
        note = partial(parts.note_gathered, rtms_stream_id=rtms_stream_id, now_ms=local_ms())
        await self._supervisor.journal.transact(note)
        if (part := part_of(found.manifest)) is not None:
            self._teller.tell(attrs.evolve(part, state=PartState.GATHERED))

    async def _find(self, rtms_stream_id: str) -> _Found | None:
        """Return a part as it was when its files were listed."""
        if rtms_stream_id in self._listed:
            return self._listed[rtms_stream_id]
        for root in self._writers.directories:
            found: _Found | None = await self._writers[root].run_sync(_look, root, rtms_stream_id)
            if found is not None:
                if len(self._listed) >= _PARTS:
                    del self._listed[next(iter(self._listed))]
                self._listed[rtms_stream_id] = found
                return found
        return None

    def _files(self, found: _Found, after: str | None) -> Files:
        """Describe the next files. For a worker thread: it reads all of them, if they were not read before."""
        names = found.names
        if after is not None:
            names = names[names.index(after) + 1 :] if after in names else []
        files = tuple(self._describe(found, name) for name in names[:FILES])
        return Files(Readiness.READY, tuple(sorted(nodes_of(found.manifest))), files, len(names) <= FILES)

    def _describe(self, found: _Found, name: str) -> File:
        with found.open(name) as descriptor:
            stat = os.fstat(descriptor)
            key = str(found.directory / name), stat.st_size, stat.st_mtime_ns
            if key not in self._sums:
                digest = hashlib.sha256()
                while data := os.read(descriptor, _READ_BYTES):
                    digest.update(data)
                if len(self._sums) >= _SUMS:
                    self._sums.clear()
                self._sums[key] = digest.hexdigest()
            return File(name, stat.st_size, self._sums[key])


def _look(root: Path, rtms_stream_id: str) -> _Found | None:
    """Look for a part that may be copied. Raises OSError."""
    directory = stream_directory(root, 0, rtms_stream_id)
    manifest = read_manifest(directory) if directory.is_dir() else None
    if manifest is None or manifest.rtms_stream_id != rtms_stream_id or manifest.state == RecordingState.REVOKED:
        return None
    listed = [name for file in manifest.files for name in (file.path, file.index) if name is not UNSET]
    names = sorted(name for name in {*listed, *LINE_FILES, CAPTIONS} if is_file(directory / name, root))
    return _Found(root, directory, manifest, [*names, MANIFEST])


def _piece(found: _Found, path: str, offset: int) -> bytes:
    with found.open(path) as descriptor:
        return os.pread(descriptor, PIECE_BYTES, offset)
