"""One list of the streams of all workers, and the worker that has a stream."""

from collections.abc import Iterable, Mapping, Sequence

from rtmsd.admin.commands import AdminBackend
from rtmsd.admin.fleet.reading import whole
from rtmsd.admin.messages import JsonObject
from rtmsd.admin.routing import MAX_CANDIDATES
from rtmsd.nearest import nearest
from rtmsd.protocol.causes import FINAL_STATES


def merged(lists: Mapping[str, Sequence[JsonObject]]) -> list[JsonObject]:
    """Return the streams of all, each with its `worker`: live ones first, in the order of their start.

    A stream that another worker took over, or that came back there, is listed once: where it lives, else where it ended
    last. One that was lost before it was recorded is in the state file, and no worker's.
    """
    live: dict[str, JsonObject] = {}
    ended: dict[tuple[str, bool], JsonObject] = {}
    for worker, streams in lists.items():
        for stream in streams:
            name, lost = str(stream.get("rtms_stream_id")), stream.get("lost")
            if is_live(stream):
                live[name] = {**stream, "worker": worker}
                continue
            entry = {**stream, "worker": None if lost else worker}
            known = ended.get((name, bool(lost)))
            if known is None or _end_ms(known) < _end_ms(entry):
                ended[name, bool(lost)] = entry
    gone = [entry for (name, _), entry in ended.items() if name not in live]
    return [*sorted(live.values(), key=_start_ms), *sorted(gone, key=_end_ms)]


def is_live(stream: JsonObject) -> bool:
    """Whether this stream goes on; a start that was refused has no recording's state."""
    state = stream.get("state")
    return state is not None and state not in FINAL_STATES and not stream.get("lost")


def _start_ms(stream: JsonObject) -> int:
    return whole(stream.get("started_ms"))


def _end_ms(stream: JsonObject) -> int:
    lost = stream.get("lost")
    lost_ms = lost.get("last_ms") if isinstance(lost, Mapping) else None
    return whole(stream.get("ended_ms")) or whole(lost_ms)


def names(backend: AdminBackend, prefix: str) -> JsonObject:
    """Return the streams of one worker that `prefix` may mean, by id, with `live` and `ended_ms`; or the nearest id."""
    ids = set(backend.ids())
    found = [prefix] if prefix in ids else sorted(each for each in ids if prefix and each.startswith(prefix))
    if not found:
        near = nearest(prefix, ids)
        return {near: {}} if near else {}
    if len(found) > MAX_CANDIDATES:  # it is ambiguous, whatever they do
        return {each: {} for each in found}
    known = ((each, backend.stream(each)) for each in found)
    return {each: {"live": is_live(stream), "ended_ms": stream.get("ended_ms")} for each, stream in known}


def owner_of(rtms_stream_id: str, names_of: Mapping[str, JsonObject]) -> str:
    """Return the worker where a stream lives, or where it ended last; it is known to one at least."""
    knowing: Iterable[str] = [worker for worker, known in names_of.items() if rtms_stream_id in known]

    def rank(worker: str) -> tuple[bool, int]:
        known = names_of[worker][rtms_stream_id]
        known = known if isinstance(known, Mapping) else {}
        return known.get("live") is True, whole(known.get("ended_ms"))

    return max(knowing, key=rank)
