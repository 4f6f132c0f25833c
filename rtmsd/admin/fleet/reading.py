"""The answers of workers as JSON. Another worker may run another version of this package, so nothing is certain."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from rtmsd.admin.messages import JsonObject
from rtmsd.errors import RtmsdError
from rtmsd.http.messages import Reply


class Unreadable(RtmsdError):
    """An answer from which nothing can be learnt; the text says why."""


def json_object(reply: Reply) -> JsonObject:
    """Raises Unreadable, with the reason: it is a refusal, or no object."""
    value = _json(reply)
    if not isinstance(value, dict):
        raise Unreadable("its answer is not a JSON object")
    return value


def json_objects(reply: Reply) -> list[JsonObject]:
    """Raises Unreadable, with the reason: it is a refusal, or no list of objects."""
    value = _json(reply)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise Unreadable("its answer is not a list of JSON objects")
    return value


def _json(reply: Reply) -> Any:
    _check(reply)
    try:
        return json.loads(reply.body)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"its answer is not JSON: {error}") from error


def _check(reply: Reply) -> None:
    if reply.status >= 400:
        raise Unreadable(f"it refused: {detail(reply)}")


def detail(reply: Reply) -> str:
    """Return the reason of a refusal."""
    try:
        problem = json.loads(reply.body)
    except (ValueError, RecursionError):
        problem = None
    said = problem.get("detail") if isinstance(problem, dict) else None
    return str(said or f"status {reply.status}")


def found(value: Any, *names: str) -> Any:
    """Return what is under these names, one within the other; None when it is not there."""
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def numbers(values: Iterable[Any], *names: str) -> list[Any]:
    """Return the numbers that are under these names."""
    each = (found(value, *names) for value in values)
    return [number for number in each if isinstance(number, int | float) and not isinstance(number, bool)]


def whole(value: Any) -> int:
    """Return a whole number; 0 for anything else."""
    return value if isinstance(value, int) else 0


def items(value: Any, *names: str) -> list[Any]:
    """Return the list under these names; an empty one when there is none."""
    listed = found(value, *names)
    return listed if isinstance(listed, list) else []


def objects(value: Any, *names: str) -> list[JsonObject]:
    """Return the objects of a list under these names."""
    return [item for item in items(value, *names) if isinstance(item, Mapping)]
