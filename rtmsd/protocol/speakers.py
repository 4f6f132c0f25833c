"""The person in media data: id and name, as far as they can be read."""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias, TypeVar

from rtmsd.protocol.bounds import bounded_id, bounded_name
from rtmsd.protocol.reading import read_int

INT64_MAX: Final = 2**63 - 1

_Read = TypeVar("_Read")

UserId: TypeAlias = int | str
"""A participant: Zoom's number (0 is the mix of everybody), or where there is one the channel id, a string."""


def read_user_id(fields: Mapping[str, Any]) -> UserId | None:
    """Return `user_id`; where there is none, or 0 in a mixed stream, the `channel_id` if there is one: a string, also
    when it came as a number.
    """
    user_id = read_number(fields.get("user_id"))
    channel_id = fields.get("channel_id")
    if user_id or not channel_id:
        return user_id
    if isinstance(channel_id, str):
        return bounded_id(channel_id)
    number = read_number(channel_id)
    return user_id if number is None else str(number)


def read_number(value: object) -> int | None:
    """Return a number that msgspec reads, too; None for what is none."""
    try:
        number = read_int(value)
    except TypeError:
        return None
    return number if number >= -INT64_MAX else None


def read_name(value: object) -> str | None:
    """Return a name within bounds; None for what is no text."""
    return bounded_name(value) if isinstance(value, str) else None


def take(left: dict[str, Any], key: str, read: Callable[[object], _Read]) -> _Read:
    """Read one field, and take it away; what cannot be read stays in `left`."""
    value = read(left.get(key))
    if value is not None:
        del left[key]
    return value


def take_user_id(left: dict[str, Any]) -> UserId | None:
    """Read who it is, as `read_user_id` does, and take that field away."""
    user_id = read_user_id(left)
    if user_id is not None:
        del left["channel_id" if isinstance(user_id, str) else "user_id"]
    return user_id
