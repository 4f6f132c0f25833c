"""The parts of one stream, fetched from the members that have them and joined with the one here."""

import contextlib
import shutil
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import attrs
import structlog
import trio
from msgspec import UNSET
from outcome import Outcome, capture

from rtmsd.cluster.engine import Bus, EngineError, Nobody, StreamLog
from rtmsd.cluster.members import Members
from rtmsd.cluster.parts.copying import Copier
from rtmsd.cluster.parts.describing import part_of
from rtmsd.cluster.parts.questions import PART, Files, NoteGathered, Readiness, encode
from rtmsd.cluster.parts.telling import PartTeller
from rtmsd.cluster.records import PartState
from rtmsd.protocol.causes import FINAL_STATES, RecordingState
from rtmsd.recording.disk.filesystem import Disk
from rtmsd.recording.disk.paths import DAY_MS, building_of, safe_name, staging_of, stream_directory
from rtmsd.recording.gather.errors import GatherError
from rtmsd.recording.gather.gather import Gathered, join, lock_gathering, put_in_place
from rtmsd.recording.gather.sources import NO_LOG, EngineLog, nodes_of
from rtmsd.recording.library.catalog import erase, root_of
from rtmsd.recording.library.retention import UNGATHERED_DAYS
from rtmsd.recording.manifest.part import is_incomplete
from rtmsd.recording.manifest.schema import Manifest, read_manifest
from rtmsd.recording.writers import Writers
from rtmsd.streams.supervisor import Supervisor

log = structlog.get_logger(__name__)

FINISH_S: Final = 60.0  # for the files of a stream that has just ended
TELL_S: Final = 2.0
_LOG: Final = "log.jsonl"  # beside copies of parts, which have the names of members


class Engine(Bus, StreamLog, Protocol):
    """An engine, as far as gathering needs it."""


class StoppableDisk(Disk):
    """Refuses to go on as soon as `is_stopped`: for a thread whose work is not wanted any more."""

    is_stopped = False

    def open(self, path: Path, *, create: bool = False) -> int:
        self._check()
        return super().open(path, create=create)

    def replace(self, path: Path, content: bytes) -> None:
        self._check()
        super().replace(path, content)

    def _check(self) -> None:
        if self.is_stopped:
            raise GatherError("it is not wanted any more")


@attrs.frozen
class _Own:
    """The part here."""

    rtms_stream_id: str
    directory: Path
    manifest: Manifest

    @property
    def named(self) -> set[str]:
        """The members that had the stream as well, as far as this one knew."""
        part = self.manifest.part
        return set() if part is UNSET else {each.node for each in part.elsewhere}

    @property
    def epoch(self) -> int:
        part = self.manifest.part
        return 0 if part is UNSET else max((tenure.epoch for tenure in part.tenures), default=0)

    def is_old(self, now_ms: int) -> bool:
        """Whether whoever is still away is not waited for any more."""
        return (self.manifest.ended_ms or 0) < now_ms - UNGATHERED_DAYS * DAY_MS


class Joiner:
    """Joins one stream at a time.

    Args:
        node: this member.
        clock_ms: local time in milliseconds since the Unix epoch.
    """

    def __init__(
        self,
        engine: Engine,
        supervisor: Supervisor,
        writers: Writers,
        teller: PartTeller,
        copier: Copier,
        *,
        members: Members,
        node: str,
        clock_ms: Callable[[], int],
    ) -> None:
        self._engine, self._supervisor, self._writers = engine, supervisor, writers
        self._teller, self._copier = teller, copier
        self._members, self._node, self._clock_ms = members, node, clock_ms

    async def gather(self, rtms_stream_id: str) -> Gathered | None:
        """Join all parts of a stream that ended here. Returns None where that is not to be done, or was done.

        After `UNGATHERED_DAYS` whoever is away is left out; the manifest says who has the rest.

        Raises:
            GatherError: a member that has a part does not give it, or the parts do not fit together.
            EngineError: the engine does not answer.
            OSError, RtmsdError: something cannot be read or written.
        """
        joined = await self._gather(rtms_stream_id)
        for root in self._writers.directories:  # what was copied is of no more use, whatever came of it
            staging = staging_of(root / "date" / safe_name(rtms_stream_id))
            await self._writers[root].run_sync(partial(shutil.rmtree, staging, ignore_errors=True))
        return joined

    async def remove_copies(self, but: Iterable[str]) -> None:
        """Remove what an earlier life has copied and not removed, but for these streams, to be continued."""
        kept = frozenset(map(safe_name, but))
        for root in self._writers.directories:
            staging = staging_of(root / "date" / "stream").parent
            await self._writers[root].run_sync(partial(_remove_copies, staging, kept))

    async def _gather(self, rtms_stream_id: str) -> Gathered | None:
        own = await self._find(rtms_stream_id)
        if own is None:
            return None
        named, is_last = own.named, True
        for part in await self._engine.parts(rtms_stream_id):
            if part.node != self._node and part.state is not PartState.DELETED:
                named.add(part.node)
                is_last = is_last and part.epoch < own.epoch
        if not is_last:
            return None  # it goes on, or ended, elsewhere: who has the end gathers
        named.discard(self._node)
        root = root_of(own.directory)
        if (why := self._supervisor.full_directories.get(root)) is not None:
            raise GatherError(why)
        kept = await self._copier.copy_log(rtms_stream_id, staging_of(own.directory) / _LOG, root)
        copies, missing = await self._fetch(own, named)
        if missing and not own.is_old(self._clock_ms()):
            raise GatherError("; ".join(f"node {node}: {why}" for node, why in missing.items()))
        if not copies and kept == NO_LOG:
            return None
        joined = await self._join(own, copies, kept)
        log.info("stream gathered", rtms_stream_id=rtms_stream_id, parts=len(joined.parts), without=sorted(missing))
        await self._spread(own, joined, named)
        return joined

    async def _find(self, rtms_stream_id: str) -> _Own | None:
        """Return the part here, if it is one that is to be joined; as soon as its files are finished."""
        if (managed := self._supervisor.streams.get(rtms_stream_id)) is not None:
            if managed.end is None:
                raise GatherError("the stream is being recorded")
            with trio.move_on_after(FINISH_S):
                await managed.is_gone.wait()
        for root in self._writers.directories:
            own: _Own | None = await self._writers[root].run_sync(_look, root, rtms_stream_id)
            if own is not None:
                return own
        return None

    async def _fetch(self, own: _Own, named: set[str]) -> tuple[list[Path], dict[str, str]]:
        """Copy what others have, and return where it is, and why something is missing, by node."""
        root, staging = root_of(own.directory), staging_of(own.directory)
        listed: dict[str, Files] = {}
        missing: dict[str, str] = {}
        for node in sorted(named.union(self._members.living()) - {self._node}):
            try:
                listed[node] = await self._list(node, own.rtms_stream_id)
            except Nobody:
                missing[node] = "it is away"
            except (EngineError, GatherError) as error:
                missing[node] = str(error)
        copies, have = list[Path](), set(nodes_of(own.manifest))
        for node, files in sorted(listed.items(), key=lambda each: (-len(each[1].nodes), each[0])):
            if files.readiness is Readiness.BUSY:
                missing[node] = "the stream is being recorded there"
            if files.readiness is not Readiness.READY or have & set(files.nodes):
                continue
            try:
                await self._copier.copy(node, own.rtms_stream_id, files, staging / node, root)
            except (EngineError, GatherError) as error:
                missing[node] = str(error)
                named.add(node)  # it has something
            else:
                copies.append(staging / node)
                have |= set(files.nodes)
        return copies, {node: why for node, why in missing.items() if node in named - have}

    async def _list(self, node: str, rtms_stream_id: str) -> Files:
        """Return what a member has, which may take it minutes.

        Raises:
            Nobody: it does not live, or died meanwhile.
            EngineError, GatherError: as `Copier.list_files`.
        """
        with self._members.while_living(node):
            return await self._copier.list_files(node, rtms_stream_id)
        raise Nobody(f"member {node} is away")

    async def _join(self, own: _Own, copies: Sequence[Path], kept: EngineLog) -> Gathered:
        """Join the parts, with what else the engine kept, and put the joined recording in the place of the one here."""
        root, run_sync = root_of(own.directory), self._writers[root_of(own.directory)].run_sync
        lock = await run_sync(lock_gathering, root)
        try:
            disk, done = StoppableDisk(root), list[Outcome[Gathered]]()
            work = partial(capture, join, own.rtms_stream_id, [own.directory, *copies], disk, log=kept)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_stop_when_cancelled, disk)
                done.append(await run_sync(work))
                nursery.cancel_scope.cancel()
            joined = done[0].unwrap()
            async with self._supervisor.librarian.replacing(own.directory, own.rtms_stream_id):
                await run_sync(put_in_place, joined)
        except BaseException:
            with trio.CancelScope(shield=True), contextlib.suppress(OSError):
                await run_sync(_erase, building_of(own.directory))
            raise
        finally:
            lock.release()
        return joined

    async def _spread(self, own: _Own, joined: Gathered, named: Iterable[str]) -> None:
        """Let others know, and deliver the joined recording in place of the part."""
        deliveries = self._supervisor.deliveries
        await self._supervisor.journal.transact(deliveries.closing(own.rtms_stream_id, joined.directory))
        deliveries.due()
        if (part := part_of(own.manifest)) is not None:
            self._teller.tell(attrs.evolve(part, state=PartState.GATHERED))
        question = encode(NoteGathered(rtms_stream_id=own.rtms_stream_id))
        for node in named:
            with contextlib.suppress(EngineError):  # then it keeps its part for a while longer
                await self._engine.ask(node, PART, question, timeout_s=TELL_S)


async def _stop_when_cancelled(disk: StoppableDisk) -> None:
    try:
        await trio.sleep_forever()
    finally:
        disk.is_stopped = True


def _look(root: Path, rtms_stream_id: str) -> _Own | None:
    directory = stream_directory(root, 0, rtms_stream_id)
    manifest = read_manifest(directory) if directory.is_dir() else None
    if manifest is None or manifest.state not in FINAL_STATES or manifest.state == RecordingState.REVOKED:
        return None
    return _Own(rtms_stream_id, directory, manifest) if is_incomplete(manifest) else None


def _remove_copies(staging: Path, kept: Collection[str]) -> None:
    with contextlib.suppress(OSError):  # then at a later start
        for copies in staging.iterdir():
            if copies.name not in kept:
                shutil.rmtree(copies, ignore_errors=True)


def _erase(building: Path) -> None:
    if building.exists():
        erase(building)
