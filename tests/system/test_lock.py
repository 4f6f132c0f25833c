"""The lock that keeps a second daemon out."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rtmsd.admin.listener import open_admin_socket
from rtmsd.errors import AlreadyRunningError, StorageError
from rtmsd.state.journal import LocalJournal
from rtmsd.system.lock import LockFile


def test_a_released_lock_can_be_taken_again(tmp_path: Path) -> None:
    path = tmp_path / "directory" / ".lock"
    lock = LockFile.acquire(path, "the directory")
    with pytest.raises(AlreadyRunningError, match=f"the directory is in use .* process {os.getpid()}"):
        LockFile.acquire(path, "the directory")
    lock.release()
    assert path.exists()
    LockFile.acquire(path, "the directory").release()


def test_a_lock_holds_on_a_disk_that_became_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lock"
    LockFile.acquire(path, "it").release()
    real = os.open

    def refuse(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", refuse)
    held = LockFile.acquire(path, "it")
    with pytest.raises(AlreadyRunningError):
        LockFile.acquire(path, "it")
    held.release()


def test_without_its_file_a_lock_still_holds_and_names_its_holder(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    held = LockFile.acquire(path, "recording.directory: here")
    path.unlink()
    with pytest.raises(AlreadyRunningError, match=f"^recording.directory: here is in use .* process {os.getpid()}$"):
        LockFile.acquire(path, "recording.directory: here")
    held.release()
    LockFile.acquire(path, "it").release()


async def test_without_its_lock_file_the_state_file_is_still_locked(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    journal = await LocalJournal.open(path)
    (tmp_path / "state.sqlite.lock").unlink()
    with pytest.raises(AlreadyRunningError, match=f"^state.file: {path} is in use by another rtmsd"):
        await LocalJournal.open(path)
    other = await LocalJournal.open(tmp_path / "other.sqlite")  # beside it there may be others
    await other.aclose()
    await journal.aclose()
    await (await LocalJournal.open(path)).aclose()


def test_the_lock_of_an_older_version_is_respected(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    hold = "import fcntl,sys; f=open(sys.argv[1],'w'); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); input()"
    command = [sys.executable, "-c", hold, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as older:
        assert older.stdout is not None
        older.stdout.readline()
        with pytest.raises(AlreadyRunningError, match=f"process {older.pid}$"):
            LockFile.acquire(path, "it")
        older.communicate(b"\n")
    LockFile.acquire(path, "it").release()


def test_a_link_instead_of_the_lock_file_leaves_its_target_alone(tmp_path: Path) -> None:
    target, path = tmp_path / "target", tmp_path / ".lock"
    target.write_text("precious")
    path.symlink_to(target)
    with pytest.raises(
        StorageError, match=r"^recording.directory: here cannot be locked: .*\.lock: is a symbolic link$"
    ):
        LockFile.acquire(path, "recording.directory: here")
    path.unlink()
    path.hardlink_to(target)
    LockFile.acquire(path, "it").release()
    assert target.read_text() == "precious"


def test_a_pipe_instead_of_the_lock_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".lock")
    with pytest.raises(StorageError, match="not a regular file"):
        LockFile.acquire(tmp_path / ".lock", "it")


def test_a_failed_attempt_leaves_the_lock_file_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    held = LockFile.acquire(path, "it")
    before = path.read_bytes()
    with pytest.raises(AlreadyRunningError):
        LockFile.acquire(path, "it")
    assert path.read_bytes() == before == b"%d\n" % os.getpid()
    held.release()


async def test_the_admin_socket_may_be_in_the_directory_that_is_locked(tmp_path: Path) -> None:
    held = LockFile.acquire(tmp_path / ".lock", "recording.directory")
    with open_admin_socket(tmp_path / "admin.sock"):
        assert (tmp_path / "admin.sock").is_socket()
    held.release()


def test_a_directory_that_is_moved_away_and_made_again_is_locked_again(tmp_path: Path) -> None:
    directory = tmp_path / "recordings"
    held = LockFile.acquire(directory / ".lock", "it")
    assert not held.follow()
    directory.rename(tmp_path / "away")
    directory.mkdir()
    assert held.follow()
    assert not held.follow()
    with pytest.raises(AlreadyRunningError):
        LockFile.acquire(directory / ".lock", "it")
    directory.rename(tmp_path / "away again")
    other = LockFile.acquire(directory / ".lock", "it")
    with pytest.raises(AlreadyRunningError):
        held.follow()
    held.release()
    other.release()


HEIR = """
import sys
from pathlib import Path
from rtmsd.system.lock import LockFile
lock = LockFile.inherited(Path(sys.argv[1]), "it", [int(each) for each in sys.argv[2:]])
print(flush=True)
input()
"""
ANCESTOR = """
import subprocess, sys
from pathlib import Path
from rtmsd.system.lock import LockFile
lock = LockFile.acquire(Path(sys.argv[1]), "it")
numbers = [str(each) for each in lock.descriptors]
heir = subprocess.Popen([sys.executable, "-c", sys.argv[2], sys.argv[1], *numbers], pass_fds=lock.descriptors)
print(heir.pid, flush=True)
sys.stdin.read(1)
"""


def test_an_inherited_lock_outlives_the_process_that_took_it(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    command = [sys.executable, "-c", ANCESTOR, str(path), HEIR]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as ancestor:
        assert ancestor.stdout is not None
        said = sorted([ancestor.stdout.readline(), ancestor.stdout.readline()])
        assert said[0] == b"\n"
        heir = said[1].decode().strip()
        with pytest.raises(AlreadyRunningError, match=f"process {ancestor.pid}$"):
            LockFile.acquire(path, "it")
        ancestor.kill()
        ancestor.wait()
        with pytest.raises(AlreadyRunningError, match=f"process {heir}$"):  # which can be looked for
            LockFile.acquire(path, "it")
        os.kill(int(heir), signal.SIGKILL)
        assert ancestor.stdout.read() == b""  # it is gone
    LockFile.acquire(path, "it").release()


def test_a_part_in_a_lock_is_released_alone(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    first = LockFile.acquire(path, "it")
    part = LockFile.inherited(path, "it", [os.dup(each) for each in first.descriptors])
    first.release()
    with pytest.raises(AlreadyRunningError):
        LockFile.acquire(path, "it")
    part.release()
    LockFile.acquire(path, "it").release()


def test_an_inherited_lock_whose_descriptors_are_closed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"^it cannot be locked: an inherited descriptor is not open"):
        LockFile.inherited(tmp_path / ".lock", "it", [1_000_000, 1_000_001])
