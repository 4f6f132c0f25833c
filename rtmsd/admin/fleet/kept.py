"""What several workers keep on one disk, or each on its own; and then, as one, recordings and deliveries.

A stream that went from one worker to another is recorded in a part at each: both are listed. The numbers of deliveries
are unique among all workers (`state.deliveries.number_from`).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, TypeVar

import attrs

from rtmsd.admin.commands import Spread
from rtmsd.admin.fleet.peers import Answers, may_have
from rtmsd.admin.fleet.reading import json_object, whole
from rtmsd.admin.messages import JsonObject, json_reply
from rtmsd.http.messages import Reply

T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Disks:
    """The state files and directories of recordings of all workers.

    Attributes:
        spreads: of commands that concern a disk, by name, where they are other than in `COMMANDS`.
        total: of what each has counted in its state file.
        own_troubles, own_checks: are of a state file: those of two workers are never the same.
        counted_by_all: metrics that all have from one state file: the most of them is right.
        is_one: all that a worker says of its disk is said of all disks.
    """

    spreads: Mapping[str, Spread] = attrs.field(factory=dict)
    total: Callable[[Iterable[Any]], Any]
    own_troubles: frozenset[str] = frozenset()
    own_checks: frozenset[str] = frozenset()
    counted_by_all: frozenset[str] = frozenset()
    is_one: bool

    def of(self, mine: T, each: Sequence[T]) -> Sequence[T]:
        """Return those of each worker's answers that together say all of the disks."""
        return [mine] if self.is_one else each


SHARED: Final = Disks(total=max, counted_by_all=frozenset({"rtmsd_deliveries"}), is_one=True)
APART: Final = Disks(
    spreads={
        "recordings": Spread.MERGE,
        "remove recording": Spread.KEEPERS,
        "deliveries": Spread.MERGE,
        "delivery": Spread.KEEPERS,
        "replay delivery": Spread.KEEPERS,
    },
    total=sum,
    own_troubles=frozenset({"deliveries_dead"}),
    own_checks=frozenset({"deliveries"}),
    is_one=False,
)

Lists = Mapping[str, Sequence[JsonObject]]


def recordings(lists: Lists) -> list[JsonObject]:
    """Return the recordings of all, each with its `worker`, in the order of one worker's list."""
    return sorted(_named(lists), key=lambda each: (_last_ms(each), str(each.get("rtms_stream_id"))))


def _last_ms(recording: JsonObject) -> int:
    """See `recording.library.catalog.Recording`."""
    changed_ms = whole(recording.get("changed_ms"))
    return min(whole(recording.get("ended_ms")) or changed_ms, changed_ms)


def deliveries(lists: Lists) -> list[JsonObject]:
    """Return the deliveries of all, each with its `worker`, by number."""
    return sorted(_named(lists), key=lambda each: whole(each.get("id")))


def _named(lists: Lists) -> Iterator[JsonObject]:
    return ({**each, "worker": worker} for worker, listed in lists.items() for each in listed)


async def answer(asked: Answers[Reply], name: str, *, is_in_parts: bool) -> Reply | None:
    """Return the answer of those that have a recording or delivery of this name; None: nobody has it.

    Args:
        is_in_parts: several may have it, and something is done only when all have done it.

    Raises:
        AdminError: TIMED_OUT when a silent worker may have it.
    """
    refusals = [reply for reply in asked.heard.values() if reply.status not in (HTTPStatus.OK, HTTPStatus.NOT_FOUND)]
    done = {worker: reply for worker, reply in asked.heard.items() if reply.status == HTTPStatus.OK}
    answers = await Answers(done, asked.silent).read(json_object)
    if answers.heard and not (is_in_parts and (refusals or answers.silent)):
        [(worker, said), *others] = answers.heard.items()
        return json_reply(said if others else {**said, "worker": worker})
    if refusals:
        return attrs.evolve(refusals[0], headers={})
    if answers.silent:
        raise may_have(answers, f"{name!r} may be there, too" if answers.heard else f"no other has {name!r}")
    return None
