"""The rules by which members choose an owner: ranking and placement. Pure."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from random import Random
from typing import Final, Protocol

from rtmsd.cluster.engine import Placed
from rtmsd.cluster.records import Log, Part, PartState

AWAITS: Final = "awaits"
"""The key of a part record that is deleted under which it names members that still have to delete theirs."""

_NONE_GIVEN: Final[Mapping[str, int]] = {}


class Candidate(Protocol):
    """A member that may be given a stream: one of `members.Member`, or a `records.Beat`."""

    @property
    def node(self) -> str: ...
    @property
    def streams(self) -> int: ...
    @property
    def capacity(self) -> int: ...
    @property
    def is_draining(self) -> bool: ...
    @property
    def is_ready(self) -> bool: ...


def rank(node_names: Iterable[str], rtms_stream_id: str) -> list[str]:
    """Return the members in the order in which they are to take over a stream, the best first.

    It is the same on every member and in every version. Who joins or leaves changes nothing in the order of the others,
    and streams are spread evenly.
    """

    def weight(node: str) -> tuple[bytes, str]:
        return hashlib.blake2b(f"{node}\0{rtms_stream_id}".encode(errors="surrogatepass"), digest_size=8).digest(), node

    return sorted(node_names, key=weight, reverse=True)


def has_room(member: Candidate, given: int = 0) -> bool:
    """Whether a member takes another stream.

    Args:
        given: streams that it got, but does not count yet.
    """
    return why_no_room(member, given) is None


def why_no_room(member: Candidate, given: int = 0) -> str | None:
    """Return why a member takes no other stream; None: it does."""
    if not member.is_ready:
        return "it is starting"
    if member.is_draining:
        return "it is draining"
    streams = member.streams + given
    return None if streams < member.capacity else f"it has {streams} of {member.capacity} streams"


def place(members: Sequence[Candidate], random: Random, given: Mapping[str, int] = _NONE_GIVEN) -> str | None:
    """Return a member for a new stream: of two random ones that have room, the one with less load.

    The least loaded of all would be everybody's choice at once, since loads are known with a delay.

    Args:
        given: streams that a member got since it last said how many it has, by node.

    Returns:
        None when nobody has room.
    """
    rooms = [member for member in members if has_room(member, given.get(member.node, 0))]
    return _least(random.sample(rooms, min(2, len(rooms))), given)


def least_loaded(members: Iterable[Candidate], here: str, given: Mapping[str, int] = _NONE_GIVEN) -> str | None:
    """Return the member with the least load that has room; among equals `here`, else the first by name.

    Args:
        here: this member, to which a stream need not be forwarded.
        given: as in `place`.

    Returns:
        None when nobody has room.
    """
    rooms = [member for member in members if has_room(member, given.get(member.node, 0))]
    return _least(sorted(rooms, key=lambda member: (member.node != here, member.node)), given)


def _least(members: Sequence[Candidate], given: Mapping[str, int]) -> str | None:
    """Return the first of those with the least share of what they take."""

    def load(member: Candidate) -> float:
        return (member.streams + given.get(member.node, 0)) / member.capacity

    return min(members, key=load).node if members else None


def without_repeats(logs: Iterable[Placed[Log]]) -> Iterator[Log]:
    """Yield the appended of one stream without those that were appended again as their answer was lost.

    Appends of one tenure come one after the other: a repeated one follows the first at once.
    """
    newest = (0, -1)
    for each in logs:
        if (each.record.token, each.record.n) > newest:
            newest = (each.record.token, each.record.n)
            yield each.record


def awaited(parts: Iterable[Part]) -> frozenset[str]:
    """Return the members that have not confirmed that their parts of a revoked stream are deleted."""
    parts = list(parts)
    confirmed = [part for part in parts if part.state is PartState.DELETED]
    named = [part.more[AWAITS] for part in confirmed if isinstance(part.more.get(AWAITS), list)]
    nodes = {part.node for part in parts} | {node for nodes in named for node in nodes if isinstance(node, str)}
    return frozenset(nodes - {part.node for part in confirmed})
