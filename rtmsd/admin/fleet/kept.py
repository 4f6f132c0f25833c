"""What each of several workers keeps on a disk of its own, as one: recordings and deliveries.

A stream that went from one worker to another is recorded in a part at each: both are listed. The numbers of deliveries
are unique among all workers (`state.deliveries.number_from`).
"""

from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Final

import attrs

from rtmsd.admin.commands import Spread
from rtmsd.admin.fleet.peers import Answers, may_have
from rtmsd.admin.fleet.reading import json_object, whole
from rtmsd.admin.messages import JsonObject, json_reply
from rtmsd.http.messages import Reply

SPREADS: Final[Mapping[str, Spread]] = {
    "recordings": Spread.MERGE,
    "remove recording": Spread.KEEPERS,
    "deliveries": Spread.MERGE,
    "delivery": Spread.KEEPERS,
    "replay delivery": Spread.KEEPERS,
}
"""The spread of commands that concern a disk, by name: other than in `COMMANDS`, as that disk is not shared."""

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
