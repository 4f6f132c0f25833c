"""The manifest stays small whatever comes: gaps, pauses, people, files, connections, refusals and details at once."""

import json
import tempfile
from pathlib import Path
from typing import Any

import attrs
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from rtmsd.protocol.bounds import bounded_id
from rtmsd.protocol.media_types import NAMES
from rtmsd.recording.disk.file_names import FileMaker
from rtmsd.recording.disk.paths import EVENTS
from rtmsd.recording.disk.shared_buffer import Buffer
from rtmsd.recording.manifest.entry import to_json
from rtmsd.recording.manifest.schema import encode_manifest, manifest_from_json
from rtmsd.recording.recovery.resume import load_resume_state
from rtmsd.recording.state import RecordingContents
from rtmsd.webhook.details import kept_details

MANIFEST_BYTES = 4 * 2**20
T = 1_790_000_000_000
MEDIA = frozenset(NAMES.values())
MANY = st.sampled_from([0, 1, 900, 2100])
MORE = st.sampled_from([0, 1, 3000, 12_000])
CAUSES = ("dropped", "corrupt", "signaling_reconnect")


def contents(directory: Path, details: dict[str, str]) -> RecordingContents:
    backlog = Buffer(2**30).open_share()
    maker = FileMaker(directory, backlog)
    identity: dict[str, Any] = {
        "rtms_stream_id": "x" * 256,
        "product": "contact_center",
        "id": "y" * 256,
        "id_key": "engagement_id",
        "app": "main",
        "started_ms": T,
        "details": kept_details(details),
    }
    found = load_resume_state(directory, identity)
    return RecordingContents(
        maker,
        maker.existing(EVENTS, 0),
        backlog,
        identity,
        found,
        started_again_ms=T,
        local_ms=lambda: T,
        nudge=lambda: None,
    )


@attrs.frozen
class Load:
    gaps: int
    gap_ms: int
    pauses: int
    people: int
    files: int
    connections: int
    id_chars: int
    letter: str
    text_chars: int
    persons: int


LOADS = st.builds(
    Load,
    gaps=MORE,
    gap_ms=st.sampled_from([1, 40, 30_000, 40_000_000]),
    pauses=MANY,
    people=MORE,
    files=MANY,
    connections=MANY,
    id_chars=st.sampled_from([6, 41, 5000]),
    letter=st.sampled_from(["x", "\x01", "é", "😀"]),
    text_chars=st.sampled_from([0, 30, 5000]),
    persons=st.sampled_from([1, 7, 12_000]),
)


@settings(max_examples=3, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(load=LOADS)
@example(load=Load(12_000, 40, 2100, 12_000, 2100, 2100, 41, "\x01", 5000, 12_000))
@example(load=Load(12_000, 40_000_000, 2100, 12_000, 2100, 2100, 5000, "x", 5000, 12_000))
@example(load=Load(12_000, 40, 0, 12_000, 2100, 2100, 6, "x", 30, 7))
def test_the_manifest_stays_below_4_mib_whatever_comes(load: Load) -> None:
    with tempfile.TemporaryDirectory() as directory:
        known = contents(
            Path(directory), {f"{number}{load.letter * 300}": load.letter * load.text_chars for number in range(100)}
        )
        timeline, text = known.timeline, load.letter * load.text_chars
        number = timeline.connected("media", MEDIA)
        for index in range(load.connections):
            timeline.lost(number, T + index, CAUSES[2], text)
            number = timeline.connected("media", MEDIA)
            timeline.heard(T + index + 1)
        for person in range(load.people):
            known.participants.joined(bounded(person, load.letter, load.id_chars), text[:500], T + person)
        for index in range(load.files):
            user_id = bounded(index, load.letter, load.id_chars)
            known.media.audio(user_id, None, T + 20 * index, b"\x01\x00" * 320)
            known.media.video(user_id, None, T + 20 * index, b"x")
        for index in range(load.gaps):
            user_id, from_ms = bounded(index % load.persons, load.letter, load.id_chars), T + 1000 * index
            timeline.heard(from_ms)
            timeline.missing("transcript", user_id, from_ms, from_ms + load.gap_ms, CAUSES[index % 3])
        for index in range(load.pauses):
            timeline.paused(T + 3000 * index)
            timeline.resumed(T + 3000 * index + 20)
        known.terms.refused(MEDIA, status=9, why=text, at_ms=T)
        known.header.enter("failed", text)
        size_bytes = len(encode_manifest(known.manifest()))
        manifest = to_json(known.manifest())
        manifest_from_json(manifest)
        assert size_bytes < MANIFEST_BYTES, {
            name: (len(value), len(json.dumps(value)))
            for name, value in manifest.items()
            if isinstance(value, list | dict)
        }
        if load.gaps and load.pauses <= 1 and load.persons < 10_000 and load.gap_ms == 40 and load.id_chars == 6:
            assert len(manifest["gaps"]) >= min(load.gaps, 9000)


def bounded(number: int, letter: str, chars: int) -> str:
    return bounded_id(f"{number:06}" + letter * (chars - 6))
