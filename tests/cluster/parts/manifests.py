"""Manifests of parts, as a recorder would write them."""

from typing import Any, Final

from rtmsd.recording.manifest.schema import (
    FileEntry,
    GapEntry,
    Manifest,
    PartEntry,
    ParticipantEntry,
    PauseEntry,
    TenureEntry,
    new_manifest,
)

T: Final = 1_790_000_000_000


def manifest(
    node: str = "a", clock_ms: int = T, *, people: int = 1, to_ms: int | None = None, **known: Any
) -> Manifest:
    """Return a manifest of the second tenure of "s", which another member began."""
    fields: dict[str, Any] = {
        "rtms_stream_id": "s",
        "started_ms": T,
        "state": "active",
        "clock_ms": clock_ms,
        "participants": [ParticipantEntry(number, user_name="A" * 100) for number in range(people)],
        "files": [FileEntry("audio/5.wav", "audio", 5, T, 1000, 32_044)],
        "gaps": [GapEntry("audio", None, T, T + 100, "node_takeover")],
        "events_bytes": 500,
        "part": PartEntry(node, [TenureEntry(2, 7, T, to_ms)]),
    }
    return new_manifest(**(fields | known))


PAUSED: Final[dict[str, Any]] = {"pauses": [PauseEntry(T + 50, None)]}
