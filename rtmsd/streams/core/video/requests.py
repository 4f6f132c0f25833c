"""The requests for one participant's video, message 28, and what comes of them."""

import enum
from collections.abc import Mapping
from typing import Final

import attrs

from rtmsd.protocol.enums import StatusCode
from rtmsd.streams.core.video.choice import Choice, ChoiceKind

ANSWER_S: Final = 10.0
"""A request that Zoom has not answered by then has failed."""


class Result(enum.StrEnum):
    """The result of a choice."""

    OK = "ok"
    GONE = "gone"  # Zoom knows no such participant
    REFUSED = "refused"
    NO_ANSWER = "no answer"
    REPLACED = "replaced"  # by another choice, before it was answered


RESULTS: Final[Mapping[int, Result]] = {
    StatusCode.OK: Result.OK,
    StatusCode.DUPLICATE_VIDEO_SUBSCRIPTION: Result.OK,
    StatusCode.INVALID_PAYLOAD: Result.GONE,
}


@attrs.frozen
class Ask:
    """Send message 28."""

    user_id: int
    subscribe: bool


@attrs.frozen(kw_only=True)
class Chosen:
    """A choice was made, for the recording.

    Attributes:
        user_id: None: nobody.
        status: Zoom's; None where it was not asked, or did not answer.
        by: "auto" or "operator".
    """

    user_id: int | None
    subscribe: bool
    status: int | None
    result: Result
    why: str
    by: str


@attrs.frozen
class Settled:
    """An operator's choice has come to its end. `status` is Zoom's, as of `Chosen`."""

    choice: Choice
    result: Result
    status: int | None = None


@attrs.frozen
class Request:
    """A request that Zoom has not answered yet."""

    user_id: int
    subscribe: bool
    why: str
    choice: Choice
    deadline_s: float

    def chosen(self, result: Result, status: int | None) -> Chosen:
        """Return it as a choice that was made, with what became of it."""
        return Chosen(
            user_id=self.user_id,
            subscribe=self.subscribe,
            status=status,
            result=result,
            why=self.why,
            by=chooser(self.choice),
        )


def chooser(choice: Choice) -> str:
    """Return who chose, "auto" or "operator"."""
    return "auto" if choice.kind is ChoiceKind.AUTO else "operator"
