"""Verification of a manifest by itself, its times above all: each loss counted once, none without a cause. Pure."""

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from rtmsd.protocol.causes import GapCause, RecordingState
from rtmsd.protocol.times import EARLIEST_MS, LATEST_MS
from rtmsd.recording.manifest.schema import VERSION, manifest_from_json

_CAUSES: Final = frozenset(GapCause)
_JITTER_MS: Final = 20  # what is shorter is no gap
UNEXPLAINED: Final = "unexplained"
ENDED: Final = frozenset({RecordingState.ENDED, RecordingState.FAILED})


class Problem(NamedTuple):
    """`path` is relative to the stream's directory; `kind` is stable, `detail` is for people."""

    path: str
    kind: str
    detail: str

    def __str__(self) -> str:
        return f"{self.path}: {self.kind}: {self.detail}"


def check_form(manifest: Any) -> Iterator[Problem]:
    """Yield what keeps a manifest from being looked at any further."""
    try:
        manifest_from_json(manifest)
    except ValueError as error:
        yield _of_manifest(f"not a manifest of rtmsd: {error}")
        return
    if manifest["version"] != VERSION:
        yield _of_manifest(f"version {manifest['version']!r}, known is {VERSION}")
    if manifest["state"] not in set(RecordingState):
        yield _of_manifest(f"unknown state {manifest['state']!r}")
    if manifest["state"] in ENDED and manifest["ended_ms"] is None:
        yield _of_manifest("ended_ms is missing although the stream ended")


def _of_manifest(detail: str) -> Problem:
    return Problem("stream.json", "manifest", detail)


def verify_manifest(manifest: dict[str, Any]) -> Iterator[Problem]:
    """Yield what is wrong with the times, gaps, pauses and connections of a manifest whose form is right."""
    yield from check_times(manifest)
    yield from check_gaps(manifest)
    yield from check_part(manifest)
    yield from check_tiling(manifest)


def check_times(manifest: dict[str, Any]) -> Iterator[Problem]:
    """No time may be absurd, as those are that came in another unit than they were taken for."""
    times = [(name, manifest.get(name)) for name in ("started_ms", "ended_ms", "first_packet_ms")]
    for person in manifest["participants"]:
        times += [(f"{name} of {person['user_id']!r}", person.get(name)) for name in ("joined_ms", "left_ms")]
    times += [(f"start_ms of {entry['path']}", entry["start_ms"]) for entry in manifest["files"]]
    for name, time_ms in times:
        if time_ms is not None and not EARLIEST_MS <= time_ms < LATEST_MS:
            yield Problem("stream.json", "time", f"{name} is {time_ms}, which no stream can be of")


def check_gaps(manifest: dict[str, Any]) -> Iterator[Problem]:
    has_ended = manifest["state"] in ENDED
    for gap in manifest["gaps"]:
        span = f"{gap['media']} {gap['from_ms']} to {gap['to_ms']}"
        if gap["cause"] not in _CAUSES:
            yield Problem("stream.json", "gap", f"{span}: unknown cause {gap['cause']!r}")
        if gap["to_ms"] is None:
            if has_ended:
                yield Problem("stream.json", "gap", f"{span}: open although the stream ended")
        elif gap["to_ms"] <= gap["from_ms"]:
            yield Problem("stream.json", "gap", f"{span}: empty")
        elif has_ended and gap["to_ms"] > manifest["ended_ms"]:
            yield Problem("stream.json", "gap", f"{span}: after the end")
    yield from check_listed_once(manifest["gaps"])


def check_listed_once(gaps: Iterable[dict[str, Any]]) -> Iterator[Problem]:
    """No loss may be counted twice: of one media type, everybody's gaps overlap nobody's, and nobody's their own."""
    ends: dict[tuple[str, Any], float] = {}  # by media and user: where the furthest gap so far ends
    for gap in sorted(gaps, key=lambda gap: gap["from_ms"]):
        media, user_id = gap["media"], gap["user_id"]
        rivals = [who for what, who in ends if what == media and (user_id is None or who in {None, user_id})]
        if any(ends[media, who] > gap["from_ms"] for who in rivals):
            yield Problem("stream.json", "gap", f"{media} {gap['from_ms']} of {user_id}: overlaps another")
        end_ms = float("inf") if gap["to_ms"] is None else gap["to_ms"]
        ends[media, user_id] = max(ends.get((media, user_id), 0), end_ms)


def check_part(manifest: dict[str, Any]) -> Iterator[Problem]:
    """Of a part of a stream: tenures follow each other, and what another member has is no gap here."""
    part, has_ended = manifest.get("part") or {}, manifest["state"] in ENDED
    elsewhere = [(each["from_ms"], each["to_ms"]) for each in part.get("elsewhere", ())]
    tenures = [(each["from_ms"], each["to_ms"]) for each in part.get("tenures", ())]
    for what, spans in (("elsewhere", elsewhere), ("tenure", tenures)):
        before_ms = None
        for from_ms, to_ms in spans:
            span = f"{what} {from_ms} to {to_ms}"
            if to_ms is None and has_ended:
                yield Problem("stream.json", "part", f"{span}: open although the stream ended")
            elif to_ms is not None and (to_ms < from_ms or (has_ended and to_ms > manifest["ended_ms"])):
                yield Problem("stream.json", "part", f"{span}: ends before it begins, or after the end")
            if before_ms is not None and from_ms < before_ms:
                yield Problem("stream.json", "part", f"{span}: begins before the one before has ended")
            before_ms = to_ms
    for gap in manifest["gaps"]:
        gap_end_ms = float("inf") if gap["to_ms"] is None else gap["to_ms"]
        if any(from_ms < gap_end_ms and gap["from_ms"] < to_ms for from_ms, to_ms in elsewhere):
            detail = f"{gap['media']} {gap['from_ms']} to {gap['to_ms']}: is recorded elsewhere, in part"
            yield Problem("stream.json", "gap", detail)


def check_tiling(manifest: dict[str, Any]) -> Iterator[Problem]:
    """Nothing may be missing without a cause between the first handshake of a media type and the end."""
    if manifest["state"] not in ENDED:
        return
    ended_ms = manifest["ended_ms"]
    connections = [each for each in manifest["connections"] if each["kind"] == "media"]
    pauses = [(pause["from_ms"], pause["to_ms"]) for pause in manifest.get("pauses", [])]
    elsewhere = [(each["from_ms"], each["to_ms"]) for each in (manifest.get("part") or {}).get("elsewhere", ())]
    ends = [pause["to_ms"] for pause in manifest.get("pauses", []) if pause.get("why") == "ended" and pause["to_ms"]]
    started_ms = max([manifest["started_ms"], *ends])  # since the stream was started again, if it was
    refused = {name for name, term in manifest.get("media", {}).items() if term.get("refused")}
    for media in sorted({name for each in connections for name in each["media"]} | refused):
        connected = [(each["opened_ms"], each["closed_ms"]) for each in connections if media in each["media"]]
        gaps = [(gap["from_ms"], gap["to_ms"]) for gap in manifest["gaps"] if gap["media"] == media]
        if any(None in span for span in connected):
            yield Problem("stream.json", "connection", f"{media}: a connection is open although the stream ended")
            continue
        never = media in refused and not connected
        is_part = any(to_ms > started_ms for _, to_ms in elsewhere)  # whose first connection is not the stream's
        first_ms = started_ms if never or is_part else min(opened_ms for opened_ms, _ in connected)
        for from_ms, to_ms in _holes([*connected, *pauses, *gaps, *elsewhere], first_ms, ended_ms):
            if never and to_ms - from_ms <= _JITTER_MS:
                continue
            yield Problem(
                "stream.json",
                UNEXPLAINED,
                f"{media} from {from_ms} to {to_ms} ({to_ms - from_ms} ms): neither connected nor paused nor a gap",
            )


def _holes(spans: Iterable[tuple[int, int | None]], from_ms: int, to_ms: int) -> Iterator[tuple[int, int]]:
    """Yield what `spans` leave uncovered."""
    for start_ms, end_ms in sorted((start, to_ms if end is None else end) for start, end in spans):
        if start_ms > from_ms and from_ms < to_ms:
            yield from_ms, min(start_ms, to_ms)
        from_ms = max(from_ms, end_ms)
    if from_ms < to_ms:
        yield from_ms, to_ms
