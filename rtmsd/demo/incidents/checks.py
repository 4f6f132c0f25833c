"""The checks of the report: those of each stream, folded into one line each, and the limits of each incident."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from rtmsd.demo.checks import Check, stream_checks
from rtmsd.demo.incidents.incidents import Cost, Incident, Stream, cost_of
from rtmsd.demo.incidents.log import Line, crashes
from rtmsd.demo.incidents.story import Performance

WEBHOOK_S: Final = 0.1  # p99, through another process


def common_checks(
    performance: Performance, streams: Sequence[Stream], lines: Iterable[Line], noun: str
) -> Iterator[Check]:
    """Yield what must hold for all streams, whoever records them.

    Args:
        lines: of all logs.
        noun: what a process that records streams is called.
    """
    yield from folded({s.name: stream_checks(s.played, s.evidence, s.heard) for s in streams})
    yield Check(
        "no stream ever had connections of two processes, or two for signaling",
        not any(stream.twins for stream in streams),
        ", ".join(stream.name for stream in streams if stream.twins) or "no instant",
    )
    yield from _copy_checks(performance, noun)
    for number, incident in enumerate(performance.incidents):
        there = [stream for stream in streams if stream.played.session.started_ms < incident.from_ms]
        costs = {stream.rtms_stream_id: cost_of(number, performance.incidents, stream) for stream in there}
        yield from checks_of(incident, costs)
    yield _crash_check([*lines])


def folded(of_streams: dict[str, list[Check]]) -> Iterator[Check]:
    """Yield each check of the streams once: it holds if it does for every stream."""
    for row in zip(*of_streams.values(), strict=True):
        failed = [f"{name}: {check.detail}" for name, check in zip(of_streams, row, strict=True) if not check.holds]
        yield Check(row[0].name, not failed, "; ".join(failed) or f"{len(row)} streams")


def _copy_checks(performance: Performance, noun: str) -> Iterator[Check]:
    elsewhere = performance.copies_elsewhere
    answers = performance.copy_statuses
    yield Check(
        f"webhooks that came again were answered 200, also by {noun}s that do not own the stream",
        elsewhere > 0 and set(answers) == {200},
        f"{answers.total()} webhooks, {elsewhere} at another {noun}; " + ", ".join(map(str, answers)),
    )
    slow_s = percentile(performance.copy_latencies_s, 0.99)
    yield Check(
        f"they were answered within {_ms(WEBHOOK_S)} (p99)",
        slow_s is not None and slow_s <= WEBHOOK_S,
        "none" if slow_s is None else _ms(slow_s),
        is_timed=True,
    )


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the least value that so many are not above; None of nothing."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)] if values else None


def checks_of(incident: Incident, costs: dict[str, Cost]) -> Iterator[Check]:
    """Judge what an incident cost each stream, by its limits.

    Args:
        costs: by stream, of those that had begun.
    """
    hit = [cost for stream, cost in costs.items() if stream in incident.hit]
    others = [cost for stream, cost in costs.items() if stream not in incident.hit]
    limits, name = incident.limits, incident.name
    if incident.hit:
        yield _claim_check(name, hit)
        yield from _time_checks(incident, hit)
        until_dead_s = 0.0 if limits.dead_s is None else ((incident.dead_ms or 0) - incident.from_ms) / 1000
        lost_s = max((cost.audio_ms for cost in hit), default=0) / 1000
        yield Check(
            f"{name}: of no stream more than {limits.audio_s:g} s of audio is lost"
            + (" beside what came to the one that hung" if limits.dead_s is not None else ""),
            len(hit) == len(incident.hit) and lost_s <= until_dead_s + limits.audio_s,
            f"{lost_s:.1f} s",
        )
    if others:
        harmed = sum(not cost.is_nothing for cost in others)
        yield Check(
            f"{name}: {'other streams' if incident.hit else 'streams'} lose nothing, and keep their connections",
            incident.over_ms is not None and not harmed,
            f"{len(others)} streams" if not harmed else f"{harmed} of {len(others)} were harmed",
        )


def _claim_check(name: str, hit: Iterable[Cost]) -> Check:
    times = [len(cost.claimed_ms) for cost in hit]
    return Check(
        f"{name}: each of its streams was taken over once",
        bool(times) and set(times) == {1},
        f"{len(times)} streams" if set(times) == {1} else f"times: {times}",
    )


def _time_checks(incident: Incident, hit: Sequence[Cost]) -> Iterator[Check]:
    limits, name = incident.limits, incident.name
    dead_s = math.inf if incident.dead_ms is None else (incident.dead_ms - incident.from_ms) / 1000
    claimed_s = _slowest_s([max(cost.claimed_ms, default=None) for cost in hit])
    media_s = _slowest_s([cost.media_ms for cost in hit])
    deaf_s = _slowest_s([cost.deaf_ms for cost in hit])
    for what, limit_s, took_s in (
        ("it is killed within {:.1f} s", limits.dead_s, dead_s),
        ("they are claimed within {:g} s", limits.claimed_s, claimed_s),
        (f"all media flow again within {{:g}} s of the {incident.death}", limits.media_s, media_s),
        ("each gets transcripts again within {:g} s", limits.transcripts_s, deaf_s),
    ):
        if limit_s is not None:
            yield Check(f"{name}: {what.format(limit_s)}", took_s <= limit_s, f"{took_s:.2f} s", is_timed=True)
    if limits.media_s is None:
        yield Check(f"{name}: all media flow again", media_s < math.inf, f"{media_s:.2f} s")


def _slowest_s(times_ms: Iterable[int | None]) -> float:
    """Return the longest of times; infinite where one never came, or there are none."""
    return max((math.inf if time_ms is None else time_ms / 1000 for time_ms in times_ms), default=math.inf)


def _crash_check(lines: list[Line]) -> Check:
    found = crashes(lines)
    return Check(
        "nothing in a log that no fault excuses",
        bool(lines) and not found,
        f"{len(lines)} lines" if not found else f"{len(found)} crashes, the first: {found[0].event}",
    )


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
