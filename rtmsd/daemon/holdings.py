"""What a daemon holds from its start to its end: the directories of recordings and the state file, locked.

A state file that was lost is rebuilt from the recordings.
"""

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Self

import attrs
import structlog
import trio

from rtmsd.config import Config, RecordingConfig
from rtmsd.errors import StorageError
from rtmsd.protocol.causes import RecordingState
from rtmsd.protocol.enums import StopReason
from rtmsd.protocol.messages import SessionRef
from rtmsd.protocol.products import ID_KEYS
from rtmsd.recording.directories import Directories
from rtmsd.recording.disk.paths import dates
from rtmsd.recording.library.librarian import Librarian, keep_tidy
from rtmsd.recording.manifest.schema import MANIFEST, Manifest, read_manifest
from rtmsd.sinks.deliveries import Deliveries
from rtmsd.state import directories as remembered
from rtmsd.state.journal import KEEP_MS, LocalJournal
from rtmsd.state.rows import StreamRow
from rtmsd.streams.running import local_ms

log = structlog.get_logger()


@attrs.frozen
class Holdings:
    """Open and locked. No other daemon can have them."""

    directories: Directories
    journal: LocalJournal

    @classmethod
    @asynccontextmanager
    async def open(cls, config: Config, *, is_shared: bool = False) -> AsyncIterator[Self]:
        """Lock and open what the configuration names.

        Args:
            is_shared: with workers, which `join`.

        Raises:
            AlreadyRunningError: another daemon holds the state file, or recordings.
            StorageError: something cannot be locked, read or written.
        """
        keys = {directory: config.directory_key(directory) for directory in config.directories}
        with Directories.locked(keys) as directories:
            async with contextlib.aclosing(await LocalJournal.open(config.state.file, is_shared=is_shared)) as journal:
                await _remember(directories, journal)
                await _recover_streams(journal, directories)
                yield cls(directories, journal)

    @classmethod
    @asynccontextmanager
    async def join(
        cls,
        config: Config,
        state_lock: Sequence[int],
        directories: Mapping[Path, Sequence[int]],
        *,
        set_aside: Path | None,
        salvaged: int,
    ) -> AsyncIterator[Self]:
        """Open, as a worker, what the parent holds.

        Args:
            state_lock: inherited descriptors of the lock on the state file.
            directories: the same of the directories of recordings.
            set_aside, salvaged: what the parent knows of a damaged state file; see `Journal`.

        Raises:
            StorageError: something cannot be read or written.
        """
        with Directories.inherited(directories) as inherited:
            async with contextlib.aclosing(await LocalJournal.join(config.state.file, state_lock)) as journal:
                journal.database.set_aside, journal.salvaged = set_aside, salvaged
                yield cls(inherited, journal)

    async def look_after(self, librarian: Librarian, deliveries: Deliveries, config: Callable[[], Config]) -> None:
        """Prune, tidy, deliver, and watch what is taken away, until cancelled. One process of a daemon does it.

        Args:
            librarian: knows the streams that live by now.
            config: in force, asked each time.
        """
        try:
            await deliveries.locate(list(self.directories))
        except StorageError as error:  # reported by health, too
            log.error("deliveries cannot be located", error=str(error))  # noqa: TRY400 foreseen
        async with trio.open_nursery() as nursery:
            nursery.start_soon(deliveries.run)
            nursery.start_soon(self.directories.follow)
            nursery.start_soon(self.journal.prune_regularly)
            nursery.start_soon(self.journal.look_after_file)
            for directory in self.directories:
                nursery.start_soon(keep_tidy, librarian, directory, lambda each: limits(config(), each))


def limits(config: Config, directory: Path) -> RecordingConfig:
    """Return what holds for a directory of recordings; where no app uses it any more, nothing is deleted by age."""
    return config.directories.get(directory, attrs.evolve(config.recording, keep_days=0, keep_bytes=0))


async def _remember(directories: Directories, journal: LocalJournal) -> None:
    """Take up the directories of earlier configurations, and write down those of this one."""
    try:
        known = await journal.transact(remembered.known)
        kept = await directories.take_up(known)
        now = dict.fromkeys([*directories, *kept])
        if sorted(now) != known:
            await journal.transact(partial(remembered.remember, directories=now))
    except StorageError as error:  # reported by health, too
        log.error("directories of recordings cannot be remembered", error=str(error))  # noqa: TRY400 foreseen


async def _recover_streams(journal: LocalJournal, directories: Directories) -> None:
    """Rebuild a lost state file from the recordings."""
    database = journal.database
    if database.set_aside is None and not database.is_new:
        return
    rows: list[StreamRow] = []
    for directory in directories:
        try:
            rows += await trio.to_thread.run_sync(_rows_in, directory, local_ms())
        except OSError as error:
            log.error("recordings cannot be read", error=str(error))  # noqa: TRY400 foreseen
    await journal.adopt(rows)
    if database.set_aside is not None or rows:
        log.error(
            "the state file was damaged and is set aside" if database.set_aside else "the state file was missing",
            path=str(database.path),
            set_aside=None if database.set_aside is None else str(database.set_aside),
            salvaged=journal.salvaged,
            from_recordings=len(rows),
        )


def _rows_in(directory: Path, now_ms: int) -> list[StreamRow]:
    return list(rows_from_recordings(directory, now_ms))


def rows_from_recordings(root: Path, now_ms: int) -> Iterator[StreamRow]:
    """Yield unfinished streams, and those that ended so recently that Zoom may still repeat its webhooks.

    Manifests do not hold the server's address, which is a secret: an unfinished stream is finished by the next start,
    not connected again.
    """
    for day in dates(root):
        for directory in day.iterdir():
            try:
                manifest, changed_ms = read_manifest(directory), (directory / MANIFEST).stat().st_mtime * 1000
            except OSError:
                continue
            if manifest is None or (_is_ended(manifest) and changed_ms < now_ms - KEEP_MS):
                continue
            row = _row(manifest)
            if row is not None:
                yield row


def _is_ended(manifest: Manifest) -> bool:
    return manifest.ended_ms is not None or manifest.state == RecordingState.REVOKED


def _row(manifest: Manifest) -> StreamRow | None:
    """Return the stream of a manifest; None where fields are missing."""
    product, app, id_key, session_id = manifest.product, manifest.app, manifest.id_key, manifest.id
    if not isinstance(product, str) or not isinstance(app, str) or not isinstance(session_id, str):
        return None
    key = next((key for key in ID_KEYS if key == id_key), None)
    if key is None:
        return None
    is_ended, reason = _is_ended(manifest), manifest.stop_reason
    if manifest.state == RecordingState.REVOKED:
        reason = int(StopReason.STREAM_REVOKED)
    started_again = [pause.to_ms for pause in manifest.pauses if pause.why == "ended"]
    event_ts = max([manifest.started_ms, *(each for each in started_again if each is not None)])
    return StreamRow(
        rtms_stream_id=manifest.rtms_stream_id,
        product=product,
        session=SessionRef(key, session_id),
        app=app,
        server_urls=None,
        started_ms=manifest.started_ms,
        event_ts=event_ts,
        stop_reason=(reason if isinstance(reason, int) else 0) if is_ended else None,
        stopped_ms=(manifest.ended_ms or event_ts) if is_ended else None,
        closed=is_ended,
    )
