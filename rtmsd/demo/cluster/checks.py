"""The checks of the report that are of a cluster alone."""

from collections.abc import Collection, Iterable, Iterator, Sequence

from rtmsd.demo.checks import Check
from rtmsd.demo.cluster.members import copies_of, is_receipt
from rtmsd.demo.cluster.story import ELECTED_S, ClusterPerformance
from rtmsd.demo.incidents.checks import common_checks
from rtmsd.demo.incidents.incidents import Stream
from rtmsd.demo.incidents.log import Line
from rtmsd.demo.stage import Stage
from rtmsd.simulator.model.tenures import contests


def all_checks(
    performance: ClusterPerformance, streams: Sequence[Stream], lines: Iterable[Line], stages: Collection[Stage]
) -> list[Check]:
    """Return every check.

    Args:
        lines: of all members' logs.
        stages: the members'.
    """
    return [*common_checks(performance, streams, lines, "member"), *own_checks(performance, streams, stages)]


def own_checks(
    performance: ClusterPerformance, streams: Sequence[Stream], stages: Collection[Stage]
) -> Iterator[Check]:
    joined = [len(parts) for stream in streams if (parts := stream.evidence.manifest.get("parts"))]
    yield Check(
        "what several members recorded of a stream was joined by its last owner",
        bool(joined),
        f"{len(joined)} streams of {sum(joined)} parts",
    )
    yield Check(
        "streams that began at once were shared out: each member got some",
        len(performance.shares) == len(stages),
        ", ".join(f"{number} at member {node}" for node, number in sorted(performance.shares.items())),
    )
    yield from _revocation_checks(performance, stages)
    yield _contest_check(performance, streams)
    yield from _leader_checks(performance)
    yield Check(
        "all members stopped cleanly",
        performance.statuses == [0] * len(stages),
        f"exit status {', '.join(map(str, performance.statuses))}",
    )


def _revocation_checks(performance: ClusterPerformance, stages: Collection[Stage]) -> Iterator[Check]:
    if performance.revoked is not None:
        copies = copies_of(stages, performance.revoked.session.rtms_stream_id)
        left = [str(copy) for copy in copies if not is_receipt(copy)]
        yield Check(
            "of the revoked stream no member has anything left but the receipt, also the one that was down",
            len(copies) > 1 and not left,
            ", ".join(left) or f"{len(copies)} copies deleted",
        )


def _contest_check(performance: ClusterPerformance, streams: Sequence[Stream]) -> Check:
    """Only who takes over from a frozen member may knock while another has the stream."""
    frozen = [incident for incident in performance.incidents if "freezes" in incident.name]
    stray = [
        f"{stream.name} at {handshake.at_ms}"
        for stream in streams
        for handshake in contests(stream.played.session.record)
        if not any(
            stream.rtms_stream_id in incident.hit and incident.from_ms <= handshake.at_ms <= (incident.over_ms or 0)
            for incident in frozen
        )
    ]
    return Check(
        "nobody connected to a stream that another had, but to those of a frozen member",
        not stray,
        ", ".join(stray[:3]) or "no handshake",
    )


def _leader_checks(performance: ClusterPerformance) -> Iterator[Check]:
    if performance.led_s is not None:
        yield Check(
            f"log leader killed: a new session is recorded within {ELECTED_S:g} s",
            performance.led_s <= ELECTED_S,
            f"{performance.led_s:.1f} s",
            is_timed=True,
        )
