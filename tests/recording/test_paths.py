"""Names of files and directories, whatever an id contains."""

from pathlib import Path

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
