"""The choice of a participant: an operator's, or by whom `media.video.follow` follows."""

import enum
from typing import Final, NamedTuple, TypeGuard

import attrs

from rtmsd.streams.core.video.people import People

MAX_USER_ID: Final = 2**32 - 1


class Follow(enum.StrEnum):
    """`media.video.follow`."""

    ACTIVE_SPEAKER = "active-speaker"
    FIRST_CAMERA = "first-camera"
    MANUAL = "manual"


class ChoiceKind(enum.StrEnum):
    USER = "user"  # this participant, with or without camera
    OFF = "off"  # nobody
    AUTO = "auto"  # whoever is followed


@attrs.frozen(eq=False)
class Choice:
    """An operator's choice, each an object of its own. `user_id` is None but for `USER`."""

    kind: ChoiceKind
    user_id: int | None = None

    def to_json(self) -> int | str:
        """Return the id, "off" or "auto"."""
        return self.kind.value if self.user_id is None else self.user_id

    def __str__(self) -> str:
        return self.kind if self.user_id is None else f"participant {self.user_id}"


def choice_from_json(value: object) -> Choice:
    """Return the choice that `to_json` wrote; of anything else, none."""
    if is_user_id(value):
        return Choice(ChoiceKind.USER, value)
    return Choice(ChoiceKind.OFF if value == ChoiceKind.OFF else ChoiceKind.AUTO)


def is_user_id(value: object) -> TypeGuard[int]:
    """Whether message 28 can name it: an unsigned number of 32 bits, where 0 is the mix of everybody."""
    return type(value) is int and 0 < value <= MAX_USER_ID


class Wanted(NamedTuple):
    """The participant who should be seen, None: nobody; and why."""

    user_id: int | None
    why: str


BY_OPERATOR: Final = "chosen by an operator"


def followed(follow: Follow, people: People, present: int | None) -> Wanted:
    """Return who should be seen without an operator's choice.

    Args:
        present: who was followed until now.
    """
    if follow is Follow.MANUAL:
        return Wanted(None, "nobody was chosen")
    if follow is Follow.ACTIVE_SPEAKER and (speaker := people.latest_speaker()) is not None:
        return Wanted(speaker, "active speaker")
    if people.can_be_seen(present):
        return Wanted(present, "camera still on")
    first = people.longest_on()
    return Wanted(first, "no camera is on" if first is None else "camera on the longest")
