"""Symbolic links and other objects below the recording directory: nothing is written or deleted through them."""

import contextlib
import json
import os
import re
from pathlib import Path

import pytest

from rtmsd.recording.disk import nofollow
from rtmsd.recording.disk.filesystem import Disk
from rtmsd.recording.disk.nofollow import open_directory
from rtmsd.recording.disk.paths import stream_directory
from rtmsd.recording.library.catalog import erase, find_recordings, leftovers, set_aside
from rtmsd.recording.library.revoke import revoke, revoke_stored

T = 1_790_000_000_000
IDENTITY = {"rtms_stream_id": "one", "product": "session", "id": "s", "app": "main", "started_ms": T}


@pytest.fixture(params=["at once", "part by part"], autouse=True)
def opening(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to open a path: by one call of a newer kernel, or without it."""
    if request.param == "part by part":
        monkeypatch.setattr(nofollow, "_open_at_once", lambda *_: None)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """What belongs to somebody else."""
    path = tmp_path / "elsewhere"
    for name in ("one/audio/5.wav", "one/stream.json", "note"):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text("precious")
    return path


def is_whole(elsewhere: Path) -> bool:
    found = {path.relative_to(elsewhere).as_posix(): path for path in elsewhere.rglob("*") if path.is_file()}
    return found.keys() == {"one/audio/5.wav", "one/stream.json", "note"} and all(
        path.read_text() == "precious" for path in found.values()
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "recordings"
    path.mkdir()
    return path


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("is_held", [False, True])
def test_no_part_of_a_path_may_be_a_link(root: Path, elsewhere: Path, depth: int, is_held: bool) -> None:
    with contextlib.ExitStack() as stack:
        disk = Disk(root)
        if is_held:
            stack.enter_context(disk.hold_root())
        _no_part_may_be_a_link(disk, root, elsewhere, depth)


def _no_part_may_be_a_link(disk: Disk, root: Path, elsewhere: Path, depth: int) -> None:
    directory = stream_directory(root, T, "one")
    path = directory / "audio/5.wav"
    place = [directory.parent, directory, path.parent][depth]
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to([elsewhere, elsewhere / "one", elsewhere / "one/audio"][depth])
    with pytest.raises(OSError, match=str(place)):
        disk.open(path)
    with pytest.raises(OSError, match=str(place)):
        disk.open(path, create=True)
    with pytest.raises(OSError, match=str(place)):
        disk.replace(path, b"ours")
    with pytest.raises(OSError, match=str(place)):
        disk.sync_directory(path.parent)
    disk.remove(path)  # of ours there is none
    assert disk.sizes(path.parent, ["5.wav"]) == {}
    assert is_whole(elsewhere)
    disk.make_directory(path.parent)
    disk.close(disk.open(path, create=True))
    disk.replace(path, b"ours")
    assert path.read_bytes() == b"ours"
    assert place.with_name(f"{place.name}.damaged").is_symlink()
    assert is_whole(elsewhere)


def test_the_recording_directory_itself_may_be_a_link(tmp_path: Path, elsewhere: Path) -> None:
    root = tmp_path / "recordings"
    root.symlink_to(elsewhere)
    disk = Disk(root)
    disk.make_directory(root / "day/stream")
    disk.replace(root / "day/stream/stream.json", b"ours")
    assert (elsewhere / "day/stream/stream.json").read_bytes() == b"ours"


def test_it_is_made_with_its_parents(tmp_path: Path) -> None:
    root = tmp_path / "a/b"
    Disk(root).make_directory(root / "day/stream")
    assert (root / "day/stream").is_dir()


def test_a_revocation_deletes_nothing_behind_a_link(root: Path, elsewhere: Path) -> None:
    directory = stream_directory(root, T, "one")
    directory.mkdir(parents=True)
    (directory / "audio").symlink_to(elsewhere)
    (directory / "video").mkdir()
    (directory / "video/deep").symlink_to(elsewhere)
    (directory / "video/5.mjpeg").write_text("picture")
    revoke(Disk(root), directory, IDENTITY)
    assert [path.name for path in directory.iterdir()] == ["stream.json"]
    assert json.loads((directory / "stream.json").read_bytes())["state"] == "revoked"
    assert is_whole(elsewhere)


def test_a_revocation_of_what_is_a_link_leaves_its_receipt(root: Path, elsewhere: Path) -> None:
    directory = stream_directory(root, T, "one")
    directory.parent.mkdir(parents=True)
    directory.symlink_to(elsewhere / "one")
    revoke_stored(Disk(root), root, IDENTITY, T + 1)
    assert json.loads((directory / "stream.json").read_bytes())["state"] == "revoked"
    assert not directory.is_symlink()
    assert is_whole(elsewhere)


def test_retention_goes_into_no_linked_day(root: Path, elsewhere: Path) -> None:
    (root / "2026-01-01").symlink_to(elsewhere)
    assert find_recordings(root) == []
    (elsewhere / ".one.deleted").mkdir()
    assert leftovers(root) == []
    with pytest.raises(OSError, match="2026-01-01"):
        set_aside(root / "2026-01-01/one")
    with pytest.raises(OSError, match="2026-01-01"):
        erase(root / "2026-01-01/.one.deleted")
    assert is_whole(elsewhere)


@pytest.mark.parametrize("name", ["stream.json", ".stream.json.tmp"])
def test_a_directory_in_the_place_of_the_manifest_is_set_aside(root: Path, name: str) -> None:
    (root / name / "inside").mkdir(parents=True)
    Disk(root).replace(root / "stream.json", b"ours")
    assert (root / "stream.json").read_bytes() == b"ours"
    assert (root / f"{name}.damaged/inside").is_dir()


def test_a_manifest_that_is_a_link_is_replaced_and_its_target_stays(root: Path, elsewhere: Path) -> None:
    (root / "stream.json").symlink_to(elsewhere / "note")
    (root / ".stream.json.tmp").symlink_to(elsewhere / "note")
    Disk(root).replace(root / "stream.json", b"ours")
    assert not (root / "stream.json").is_symlink()
    assert is_whole(elsewhere)


def test_a_pipe_in_the_place_of_a_file_stops_nobody(root: Path) -> None:
    os.mkfifo(root / "events.jsonl")
    with pytest.raises(OSError, match="is no file"):
        Disk(root).open(root / "events.jsonl")


def test_no_link_is_followed_below_the_working_directory(
    root: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    disk = Disk(Path())
    disk.make_directory(Path("audio"))
    Path("audio/5.wav").symlink_to(elsewhere / "one/audio/5.wav")
    Path("other").symlink_to(elsewhere / "one")
    for name in ("audio/5.wav", "other/audio/5.wav"):
        with pytest.raises(OSError, match=name.split("/5", maxsplit=1)[0]):
            disk.open(Path(name))
    disk.replace(Path("stream.json"), b"{}")
    disk.close(disk.open(Path("audio/6.wav"), create=True))
    assert disk.sizes(Path("audio"), ["6.wav"])
    assert is_whole(elsewhere)


def test_of_a_path_outside_of_the_root_the_last_part_is_not_followed(root: Path, elsewhere: Path) -> None:
    link = root / "link"
    link.symlink_to(elsewhere / "note")
    with pytest.raises(OSError, match="link"):
        Disk(elsewhere).open(link)


@pytest.mark.parametrize("create", [True, False])
def test_a_name_with_a_nul_is_no_shorter_name(root: Path, create: bool) -> None:
    (root / "a").mkdir()
    if not create:
        (root / "a/b").touch()
    with pytest.raises(ValueError, match="null"):
        Disk(root).open(root / "a/b\0c", create=create)
    assert (root / "a/b").exists() != create


def test_a_path_below_the_root_is_opened_by_one_call(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "a/b").mkdir(parents=True)
    disk = Disk(root)
    disk.close(disk.open(root / "a/b/c", create=True))
    with disk.hold_root():
        if nofollow._open_at_once(disk._held.root, "a/b/c", os.O_RDONLY, 0) is None:
            pytest.skip("not in this kernel")
        monkeypatch.setattr(os, "open", lambda *_, **__: pytest.fail("another call"))
        disk.close(disk.open(root / "a/b/c"))


def test_no_descriptor_is_left_open(root: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(FileNotFoundError), open_directory(root / "a/b", root):
        pass
    with open_directory(root, root):
        pass
    with pytest.raises(FileNotFoundError):
        Disk(root).open(root / "a/b")
    with Disk(root).hold_root(), pytest.raises(FileNotFoundError):
        Disk(root).open(root / "a/b")
    with Disk(root / "none").hold_root():
        pass
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_what_the_disk_refuses_is_reported_with_its_whole_path(tmp_path: Path) -> None:
    day = tmp_path / "2026-09-21"
    day.mkdir()
    with pytest.raises(OSError, match=re.escape(f"'{day / 'none'}'")):
        Disk(tmp_path).set_aside(day / "none")
