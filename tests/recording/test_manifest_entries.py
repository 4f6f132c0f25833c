"""Entries of a manifest: read and written again, whatever a later version adds to them."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmsd.recording.manifest.entry import to_json
from rtmsd.recording.manifest.schema import encode_manifest, manifest_from_json

T = 1_790_000_000_000
FILE = {"path": "audio/5.wav", "media": "audio", "user_id": 5, "start_ms": T, "duration_ms": 20, "bytes": 1340}
WHOLE: dict[str, Any] = {
    "version": 1,
    "rtms_stream_id": "x",
    "details": {"": "no key of ours"},
    "state": "active",
    "started_ms": T,
    "ended_ms": None,
    "participants": [{"user_id": 5, "user_name": "Ana", "joined_ms": T, "left_ms": None}],
    "media": {"audio": {"asked": {}, "granted": None, "refused": {"status": 9, "why": "no", "at_ms": T}}},
    "files": [FILE, FILE | {"path": "video/5.h264", "media": "video", "index": "video/5.h264.jsonl"}],
    "gaps": [{"media": "audio", "user_id": None, "from_ms": T, "to_ms": None, "cause": "dropped"}],
    "pauses": [{"from_ms": T, "to_ms": None, "why": "paused"}],
    "connections": [{"number": 1, "kind": "media", "media": ["audio"], "opened_ms": T, "closed_ms": None}],
    "counters": {"messages": {"audio": 1}, "duplicates": 2, "corrupt_kinds": {}},
}
NEW_KEYS = st.dictionaries(st.sampled_from(["others", "nested", "x", ""]), st.integers() | st.text(), max_size=2)


def entries(plain: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield all objects to which a later version may add keys."""
    yield plain
    for name in ("participants", "files", "gaps", "pauses", "connections"):
        yield from plain[name]
    yield from (plain["counters"], plain["media"]["audio"], plain["media"]["audio"]["refused"])


@given(st.data())
def test_keys_of_a_later_version_are_kept_in_every_entry(data: st.DataObject) -> None:
    whole = json.loads(json.dumps(WHOLE))
    for entry in entries(whole):
        entry.update(data.draw(NEW_KEYS))
    again = json.loads(encode_manifest(manifest_from_json(whole)))
    for before, after in zip(entries(whole), entries(again), strict=True):
        plain = {name for name, value in before.items() if not isinstance(value, list | dict)}
        assert {name: after.get(name) for name in plain} == {name: before[name] for name in plain}


@pytest.mark.parametrize("value", [None, 5, {"": None}, {"state": "ended"}])
def test_a_key_without_a_name_does_no_harm(value: Any) -> None:
    plain = WHOLE | {"": value}
    assert to_json(manifest_from_json(plain)) == to_json(manifest_from_json(WHOLE)) | {"": value}


def test_what_is_read_is_what_is_written() -> None:
    plain = to_json(manifest_from_json(WHOLE))
    assert to_json(manifest_from_json(plain)) == plain
    assert plain["details"] == {"": "no key of ours"}
