"""The examination of streams: what was sent, and what is in their files."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from rtmsd.demo.checks import Check, unreadable
from rtmsd.demo.evidence import collect
from rtmsd.demo.incidents.incidents import Incident, Stream
from rtmsd.demo.incidents.log import Line, read_log
from rtmsd.demo.incidents.story import Performance
from rtmsd.demo.speakers import speakers
from rtmsd.demo.story import Played
from rtmsd.simulator import two_at_once


def examine(
    performance: Performance,
    find: Callable[[str], Path],
    logs: Iterable[Path],
    late_ms: int,
    check: Callable[[Sequence[Stream], list[Line]], list[Check]],
) -> tuple[list[Stream], list[Check]]:
    """Read all files and check them. Unreadable ones are a failed check, beside no streams.

    Args:
        find: returns where a stream was recorded, or raises FileNotFoundError.
        late_ms: how far, in Zoom's time, a daemon may lag behind on a busy machine.
    """
    try:
        streams = [
            _examined(find(played.session.rtms_stream_id), f"stream {number}", played, performance.incidents, late_ms)
            for number, played in enumerate(performance.streams, 1)
        ]
        lines = [line for log in logs for line in read_log(log)]
    except (OSError, ValueError, KeyError) as error:
        return [], [unreadable(error)]
    return streams, check(streams, lines)


def _examined(directory: Path, name: str, played: Played, incidents: Sequence[Incident], late_ms: int) -> Stream:
    session = played.session
    played.late_ms = late_ms
    played.faults = [incident.fault_of(session.rtms_stream_id) for incident in incidents]
    evidence = collect(directory)
    heard = speakers(session.record, evidence, session.crowd.name)
    return Stream(name, played, evidence, heard, twins=len(two_at_once(session.record)))
