"""Names of files and directories, whatever an id contains."""

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmsd.recording.disk.paths import DAY_MS, participant_name, safe_name, stream_directory

T = 1_790_000_000_000


@given(st.text(), st.text())
def test_names_are_safe_and_never_meet(one: str, other: str) -> None:
    name = safe_name(one)
    assert name
    assert len(name) <= 120
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-%")
    assert (safe_name(other) == name) == (other == one)


def test_only_the_mix_is_called_mixed() -> None:
    assert participant_name(0) == "mixed"
    assert participant_name("mixed") != "mixed"
    assert participant_name("0") != participant_name(0) or participant_name("0") == "0"


def test_a_stream_keeps_its_directory_across_midnight(tmp_path: Path) -> None:
    first = stream_directory(tmp_path, T, "../a")
    assert first == tmp_path / "2026-09-21" / "%2E%2E%2Fa"
    first.mkdir(parents=True)
    assert stream_directory(tmp_path, T + DAY_MS, "../a") == first


def test_only_a_directory_in_a_directory_of_a_date_is_a_streams(tmp_path: Path) -> None:
    for date in ("2026-09-01", ".gone"):
        (tmp_path / date / "one").mkdir(parents=True)
    (tmp_path / "2026-09-02").symlink_to(tmp_path / "2026-09-01")
    (tmp_path / "2026-09-03").mkdir()
    (tmp_path / "2026-09-03" / "one").symlink_to(tmp_path / "2026-09-01" / "one")
    (tmp_path / "2026-09-04").mkdir()
    (tmp_path / "2026-09-04" / "one").touch()
    (tmp_path / "2026-09-05").touch()
    assert stream_directory(tmp_path, T, "one") == tmp_path / "2026-09-01" / "one"
    assert stream_directory(tmp_path, T, "two") == tmp_path / "2026-09-21" / "two"


def test_a_disk_that_does_not_say_is_no_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> os.stat_result:
        raise OSError(errno.EIO, "input/output error", path)

    monkeypatch.setattr(os, "lstat", fail)
    with pytest.raises(OSError, match="input/output"):
        stream_directory(tmp_path, T, "one")
