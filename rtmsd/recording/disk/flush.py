"""One flush: the files of all recordings written and synced in a worker thread, each manifest last."""

import contextlib
import os
import resource
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import attrs

from rtmsd.recording.disk.file_buffer import Batch, DiskFile
from rtmsd.recording.disk.filesystem import PAGE_BYTES, Disk
from rtmsd.recording.disk.presence import Damage, FileDamaged, open_known, open_new, survey
from rtmsd.recording.manifest.schema import MANIFEST, Manifest, encode_manifest

_OPEN_FILES: Final = 128
"""So many are written before they are synced: enough that the file system joins its commits, few descriptors."""

_UNCACHED_BYTES: Final = 2**18
"""So much of a file, once synced, is not kept in memory: nobody reads it soon. Where the kernel has to take memory that
was never used before, as it would on and on, a write costs 5 times as much on a virtual machine.
"""


@attrs.frozen
class Job:
    """What one flush has to do for one recorder. The manifest goes last, so that it never promises too much.

    Attributes:
        repair: is done before the manifest is written.
        files: all that the recording has, which are looked at before a manifest promises them.
    """

    directory: Path
    batches: tuple[Batch, ...]
    manifest: Manifest | None
    repair: Callable[[Disk], None] | None = None
    files: tuple[DiskFile, ...] = ()


@attrs.frozen
class Outcome:
    """What became of a job: what is on disk, and the first error if not all is. One that is no OSError is a bug.

    Attributes:
        damages: what is no longer on disk. The manifest was not written then, which would have promised it.
    """

    written: tuple[Batch, ...]
    error: Exception | None
    damages: tuple[Damage, ...] = ()


def write_jobs(disk: Disk, jobs: Sequence[Job]) -> list[Outcome]:
    """Write and sync all jobs; one file's error stops no other, nor does a bug in what one job holds."""
    with disk.hold_root():
        return _write_jobs(disk, jobs)


def _write_jobs(disk: Disk, jobs: Sequence[Job]) -> list[Outcome]:
    written: dict[int, list[Batch]] = {number: [] for number in range(len(jobs))}
    errors: dict[int, Exception] = {}
    damages: dict[int, list[Damage]] = {number: [] for number in range(len(jobs))}
    batches = [(number, batch) for number, job in enumerate(jobs) for batch in job.batches]
    at_once = min(_OPEN_FILES, max(1, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 16))
    for first in range(0, len(batches), at_once):
        for number, batch, error in _write_group(disk, batches[first : first + at_once]):
            if error is None:
                written[number].append(batch)
            elif isinstance(error, FileDamaged):
                damages[number].append(error.damage)
            else:
                errors.setdefault(number, error)
    manifests: list[tuple[int, tuple[Path, bytes]]] = []
    for number, job in enumerate(jobs):
        if job.manifest is not None and number not in errors:
            try:
                if job.repair is not None:
                    job.repair(disk)
                known = {damage.file for damage in damages[number]}
                known |= {batch.file for batch in written[number]}  # looked at when they were opened
                damages[number] += survey(disk, (file for file in job.files if file not in known))
                if not damages[number]:
                    disk.make_directory(job.directory)
                    manifests.append((number, (job.directory / MANIFEST, encode_manifest(job.manifest))))
            except Exception as error:
                errors[number] = error
    for first in range(0, len(manifests), at_once):
        group = manifests[first : first + at_once]
        for (number, _), failure in zip(group, disk.replace_all([file for _, file in group]), strict=True):
            if failure is not None:
                errors[number] = failure
    return [Outcome(tuple(written[number]), errors.get(number), tuple(damages[number])) for number in range(len(jobs))]


def _write_group(disk: Disk, batches: Iterable[tuple[int, Batch]]) -> list[tuple[int, Batch, Exception | None]]:
    results: list[tuple[int, Batch, Exception | None]] = []
    opened: list[tuple[int, Batch, int]] = []
    for number, batch in batches:
        try:
            opened.append((number, batch, _write(disk, batch)))
        except Exception as error:
            results.append((number, batch, error))
    failures = disk.sync_all([(batch.file.path, descriptor) for _, batch, descriptor in opened])
    for (number, batch, descriptor), failure in zip(opened, failures, strict=True):
        if batch.queued_bytes >= _UNCACHED_BYTES and failure is None:  # but the header, which each flush writes again
            disk.uncache(descriptor, max(batch.chunks[0][0], PAGE_BYTES), batch.size_bytes)
        with contextlib.suppress(OSError):
            disk.close(descriptor)
        results.append((number, batch, failure))
    return results


def _write(disk: Disk, batch: Batch) -> int:
    """Write one file, and return its descriptor. What could only be written in part is cut off again."""
    file = batch.file
    descriptor = open_known(disk, file) if file.durable_bytes else open_new(disk, file)
    try:
        if file.durable_bytes == 0 and file.header is not None:
            # Were we killed behind the samples, they would be of an unknown format.
            disk.write(descriptor, file.header(0), 0)
        for offset, pieces in batch.chunks:
            disk.write_pieces(descriptor, pieces, offset)
        if not batch.chunks:  # it was cut, and ends within a sample
            disk.truncate(descriptor, batch.size_bytes)
        if file.header is not None:
            disk.write(descriptor, file.header(batch.size_bytes), 0)
    except Exception as error:
        with contextlib.suppress(Exception):
            if file.durable_bytes:
                disk.truncate(descriptor, file.durable_bytes)
                if file.header is not None:
                    disk.write(descriptor, file.header(file.durable_bytes), 0)
            else:
                disk.remove(file.path)
        with contextlib.suppress(OSError):
            disk.close(descriptor)
        if isinstance(error, OSError) and error.filename is None:
            raise OSError(error.errno, os.strerror(error.errno or 0), str(file.path)) from error
        raise
    return descriptor
