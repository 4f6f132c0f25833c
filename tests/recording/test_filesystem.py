"""Files synced together, on the real file system, and what becomes of errors."""

import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from rtmsd.recording.disk import filesystem as sync
from rtmsd.recording.disk.file_buffer import Backlog, DiskFile
from rtmsd.recording.disk.filesystem import FROM_FILES, Disk, FileSystemSync
from rtmsd.recording.disk.flush import Job, write_jobs


@pytest.fixture
def descriptors(tmp_path: Path) -> Iterator[list[int]]:
    opened = [Disk().open(tmp_path / f"{number}.wav", create=True) for number in range(FROM_FILES)]
    yield opened
    for descriptor in opened:
        os.close(descriptor)


@pytest.fixture
def equivalent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests run on any file system: here it is enough that there is a call, and that it works."""
    if sync._syncfs is None:
        pytest.skip("no syncfs here")
    monkeypatch.setattr(sync, "_is_equivalent", lambda device: True)


def named(descriptors: Sequence[int]) -> list[tuple[Path, int]]:
    return [(Path(f"/nowhere/{number}.wav"), descriptor) for number, descriptor in enumerate(descriptors)]


class Counting(Disk):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def sync(self, descriptor: int) -> None:
        self.calls.append("sync")
        super().sync(descriptor)

    def sync_together(self, descriptor: int) -> None:
        self.calls.append("sync_together")
        super().sync_together(descriptor)


@pytest.mark.usefixtures("equivalent")
def test_many_files_of_one_file_system_are_one_call(descriptors: list[int]) -> None:
    disk = Counting()
    assert disk.sync_all(named(descriptors)) == [None] * FROM_FILES
    assert disk.calls == ["sync_together"]


@pytest.mark.usefixtures("equivalent")
def test_few_files_are_synced_by_themselves(descriptors: list[int]) -> None:
    disk = Counting()
    assert disk.sync_all(named(descriptors[1:])) == [None] * (FROM_FILES - 1)
    assert disk.calls == ["sync"] * (FROM_FILES - 1)


def test_where_the_call_may_do_less_files_are_synced_by_themselves(
    descriptors: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "_EQUIVALENT", frozenset())
    sync._is_equivalent.cache_clear()
    assert not FileSystemSync().covers(descriptors)
    sync._is_equivalent.cache_clear()


@pytest.mark.usefixtures("equivalent")
def test_a_slow_call_is_not_made_again_for_a_while(descriptors: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync, "_SLOW_S", -1.0)
    together = FileSystemSync()
    assert together.covers(descriptors)
    together.run(descriptors[0])
    assert not together.covers(descriptors)


class Refusing(Disk):
    """The third file cannot be synced, nor can all together."""

    def __init__(self, bad: int) -> None:
        super().__init__()
        self.bad = bad

    def sync(self, descriptor: int) -> None:
        if descriptor == self.bad:
            raise OSError(errno.EIO, "refused")

    def sync_together(self, descriptor: int) -> None:
        raise OSError(errno.EIO, "refused")


def test_an_error_is_that_of_its_file(descriptors: list[int]) -> None:
    errors = Refusing(descriptors[2]).sync_all(named(descriptors[:4]))
    assert [error is None for error in errors] == [True, True, False, True]


@pytest.mark.usefixtures("equivalent")
def test_an_error_of_all_together_is_one_of_each(descriptors: list[int]) -> None:
    assert all(error is not None for error in Refusing(descriptors[2]).sync_all(named(descriptors)))


@pytest.mark.usefixtures("equivalent")
def test_what_the_system_says_is_raised() -> None:
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        FileSystemSync().run(-1)


def test_pieces_are_written_one_behind_the_other(tmp_path: Path) -> None:
    disk, path = Disk(), tmp_path / "pieces"
    pieces = [bytes([number % 251]) * (number % 7) for number in range(3000)]  # more than go into one call
    descriptor = disk.open(path, create=True)
    disk.write_pieces(descriptor, pieces, 5)
    disk.close(descriptor)
    assert path.read_bytes() == bytes(5) + b"".join(pieces)


def test_pieces_go_to_the_kernel_in_calls_of_a_megabyte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, path, sizes, pwritev = Disk(), tmp_path / "pieces", [], os.pwritev

    def noted(descriptor: int, pieces: Sequence[bytes], offset: int) -> int:
        sizes.append(pwritev(descriptor, pieces, offset))
        return sizes[-1]

    monkeypatch.setattr(os, "pwritev", noted)
    descriptor = disk.open(path, create=True)
    disk.write_pieces(descriptor, [bytes(22_500)] * 200, 0)
    disk.write_pieces(descriptor, [bytes(2**21)] * 2, 200 * 22_500)
    disk.close(descriptor)
    assert path.stat().st_size == sum(sizes) == 200 * 22_500 + 2 * 2**21
    assert len(sizes) == 5 + 2
    assert max(sizes[:5]) <= 2**20


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_replaces_stays_the_owner_s_of_the_directory(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12345)
    Disk().replace(tmp_path / "stream.json", b"{}")
    found = (tmp_path / "stream.json").stat()
    assert (found.st_uid, found.st_gid) == (12345, 12345)


def renamed(directory: Path, number: int) -> list[tuple[Path, bytes]]:
    for each in range(number):
        (directory / str(each)).mkdir()
        (directory / str(each) / "stream.json").write_bytes(b"old")
    return [(directory / str(each) / "stream.json", b"new %d" % each) for each in range(number)]


@pytest.mark.usefixtures("equivalent")
def test_many_files_are_replaced_with_a_sync_before_they_get_their_names_and_one_behind(tmp_path: Path) -> None:
    files = renamed(tmp_path, FROM_FILES)

    class Looking(Counting):
        def sync_together(self, descriptor: int) -> None:
            self.calls.append(",".join(sorted({path.read_bytes()[:3].decode() for path, _ in files})))
            super().sync_together(descriptor)

    disk = Looking()
    assert disk.replace_all(files) == [None] * FROM_FILES
    assert disk.calls == ["old", "sync_together", "new", "sync_together"]
    assert all(path.read_bytes() == content for path, content in files)
    assert [path.name for path in tmp_path.glob("*/.*")] == []


def test_a_file_that_cannot_be_replaced_keeps_no_other_from_it(tmp_path: Path) -> None:
    files = renamed(tmp_path, 3)
    files[1][0].unlink()
    files[1][0].parent.rmdir()
    first, second, third = Disk().replace_all(files)
    assert (first, third) == (None, None)
    assert isinstance(second, FileNotFoundError)
    assert [files[number][0].read_bytes() for number in (0, 2)] == [b"new 0", b"new 2"]


def test_what_was_not_synced_gets_no_name(tmp_path: Path) -> None:
    class Failing(Disk):
        def sync(self, descriptor: int) -> None:
            raise OSError(errno.EIO, "refused")

    files = renamed(tmp_path, 2)
    assert [getattr(failure, "errno", None) for failure in Failing().replace_all(files)] == [errno.EIO] * 2
    assert {path.read_bytes() for path, _ in files} == {b"old"}


class Naming(Disk):
    """Notes which directories are synced by themselves; one that is called so is refused."""

    def __init__(self) -> None:
        super().__init__()
        self.synced: list[str] = []
        self.refuses = True

    def sync_directory(self, path: Path) -> None:
        self.synced.append(path.name)
        if path.name == "refused" and self.refuses:
            raise OSError(errno.EIO, "refused")


def test_each_directory_with_new_names_is_synced_once_until_that_succeeds(tmp_path: Path) -> None:
    disk = Naming()
    paths = [tmp_path / "day" / each / "audio/1.wav" for each in ("one", "two", "refused")]
    for path in paths:
        disk.make_directory(path.parent)
    files = [(path, disk.open(path, create=True)) for path in paths]
    for path in paths:
        disk.note_name(path)
    assert not disk.synced
    assert [failure is None for failure in disk.sync_all(files)] == [True, True, False]
    assert sorted(disk.synced) == sorted([tmp_path.name, "day", "one", "two", "refused", *["audio"] * 3])
    disk.synced.clear()
    disk.refuses = False
    assert disk.sync_all(files) == [None] * 3
    assert disk.sync_all(files) == [None] * 3
    assert disk.synced == ["refused"]
    for _, descriptor in files:
        os.close(descriptor)


@pytest.mark.usefixtures("equivalent")
def test_one_call_brings_new_names_with_their_files(descriptors: list[int], tmp_path: Path) -> None:
    disk = Naming()
    disk.make_directory(tmp_path / "day/one")
    assert disk.sync_all(named(descriptors)) == [None] * FROM_FILES
    assert disk.sync_all(named(descriptors[1:])) == [None] * (FROM_FILES - 1)
    assert not disk.synced


@pytest.mark.usefixtures("equivalent")
def test_names_wait_for_a_call_that_succeeds(descriptors: list[int], tmp_path: Path) -> None:
    class Both(Naming):
        def sync_together(self, descriptor: int) -> None:
            raise OSError(errno.EIO, "refused")

    disk = Both()
    disk.make_directory(tmp_path / "day")
    assert None not in disk.sync_all(named(descriptors))
    assert disk.sync_all(named(descriptors[1:])) == [None] * (FROM_FILES - 1)
    assert disk.synced == [tmp_path.name]


@pytest.mark.usefixtures("equivalent")
def test_a_slow_call_is_made_again_where_file_by_file_is_as_slow(
    descriptors: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync, "_SLOW_S", -1.0)
    together = FileSystemSync()
    together.run(descriptors[0])
    together.compare(FROM_FILES, 0.0)  # slow by the limit, and yet quicker
    assert not together.covers(descriptors)
    together.compare(FROM_FILES - 1, 60.0)
    assert not together.covers(descriptors)
    together.compare(FROM_FILES, 60.0)
    assert together.covers(descriptors)


def test_a_name_that_comes_while_others_are_synced_is_synced_next(tmp_path: Path) -> None:
    synced: list[Path] = []

    class Noting(Disk):
        def sync_directory(self, path: Path) -> None:
            if not synced:
                self.note_name(tmp_path / "b" / "late")
            synced.append(path)

    disk = Noting()
    disk.note_name(tmp_path / "a" / "early")
    for _ in range(2):
        disk.sync_all([])
    assert synced == [tmp_path / "a", tmp_path / "b"]


def test_a_directory_that_may_not_be_read_refuses_once(tmp_path: Path) -> None:
    class Denying(Disk):
        def sync_directory(self, path: Path) -> None:
            raise PermissionError(errno.EACCES, "denied")

    disk, path = Denying(), tmp_path / "file"
    descriptor = disk.open(path, create=True)
    assert [str(error) for error in disk.sync_all([(path, descriptor)])] == ["None"]
    disk.note_name(path)
    (failure,) = disk.sync_all([(path, descriptor)])
    assert isinstance(failure, PermissionError)
    assert disk.sync_all([(path, descriptor)]) == [None]
    disk.close(descriptor)


def test_only_whole_pages_leave_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda fd, offset, size, advice: asked.append((offset, size)))
    disk = Disk()
    disk.uncache(0, 4096, 2**20 + 5)
    disk.uncache(0, 300_000, 310_000)
    disk.uncache(0, 304_000, 304_100)
    assert asked == [(4096, 2**20 - 4096), (300_000, 75 * 4096 - 300_000)]


def test_only_a_large_batch_leaves_the_memory_and_never_the_page_of_the_header(tmp_path: Path) -> None:
    left: list[tuple[int, int]] = []

    class Leaving(Disk):
        def uncache(self, descriptor: int, offset: int, stop: int) -> None:
            left.append((offset, stop))

    large, small = (DiskFile(tmp_path / name, 0, Backlog(2**20), lambda file: None) for name in ("large", "small"))
    large.append(bytes(300_000))
    small.append(bytes(3000))
    for _ in range(2):
        batches = (large.take(), small.take())
        (outcome,) = write_jobs(Leaving(), [Job(tmp_path, batches, None)])
        assert outcome.written == batches
        for batch in batches:
            batch.file.written(batch)
        large.append(bytes(300_000))
        small.append(bytes(3000))
    assert left == [(4096, 300_000), (300_000, 600_000)]


def test_a_size_asked_for_with_each_piece_does_not_add_up_all_of_them(tmp_path: Path) -> None:
    backlog = Backlog(2**20)
    file = DiskFile(tmp_path / "a", 0, backlog, lambda file: None)
    longest = 0
    for number in range(1000):
        file.append(b"piece")
        assert (file.size_bytes, file.received_bytes) == (5 * (number + 1),) * 2
        longest = max(longest, len(file.tail))
    assert longest < 100
    batch = file.take()
    assert b"".join(piece for _, pieces in batch.chunks for piece in pieces) == b"piece" * 1000
    file.written(batch)
    assert backlog.pending_bytes == 0
