"""Tolerant reading: a frame to a JSON object, and JSON values to typed fields."""

import enum
import json
import math
import re
from collections.abc import Iterable
from typing import Any, Final, TypeAlias

import attrs
import cattrs

from rtmsd.errors import RemoteProtocolError
from rtmsd.protocol.messages import SessionRef

Fields: TypeAlias = dict[str, Any]
Raw: TypeAlias = str | bytes | bytearray | memoryview

MAX_DEPTH: Final = 32  # of objects and lists in each other: safe to walk, and to write again


class CorruptKind(enum.Enum):
    """The mistake in a frame; `value` is the name under which it is counted."""

    BAD_UTF8 = "bad_utf8"
    BAD_JSON = "bad_json"
    NOT_OBJECT = "not_object"
    WRONG_TYPE = "wrong_type"  # also: a required field is missing
    UNEXPECTED = "unexpected"  # readable, but nothing for this reader: media data where control messages belong
    BAD_BASE64 = "bad_base64"  # this and the next: media data only
    LENGTH_MISMATCH = "length_mismatch"


class Malformed(RemoteProtocolError):
    """A frame that is no readable message. The text names fields and types, never their content.

    Attributes:
        kind: what to count it as.
    """

    def __init__(self, kind: CorruptKind, detail: str) -> None:
        super().__init__(f"{kind.value}: {detail}")
        self.kind = kind


# JSON


_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


def load_object(raw: Raw) -> Fields:
    """Read a JSON object. Half a surrogate pair in it becomes a question mark.

    Raises:
        Malformed: not UTF-8, not JSON, nested deeper than `MAX_DEPTH`, or not an object.
    """
    try:
        text = raw if isinstance(raw, str) else str(raw, "utf-8")
    except UnicodeDecodeError as exc:
        raise Malformed(CorruptKind.BAD_UTF8, f"at byte {exc.start}") from None
    try:
        value = json.loads(text, parse_float=_finite, parse_constant=_finite)
        if _SURROGATE.search(text):
            # Half a surrogate pair, as of a name cut in the middle of an emoji, could be written to no file.
            value = json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError) as exc:
        # A JSONDecodeError's text holds no content, but that of other ValueErrors (a number's digits) may.
        detail = exc.msg if isinstance(exc, json.JSONDecodeError) else type(exc).__name__
        raise Malformed(CorruptKind.BAD_JSON, detail) from None
    if not isinstance(value, dict):
        raise Malformed(CorruptKind.NOT_OBJECT, type(value).__name__)
    if _is_deep(value):
        raise Malformed(CorruptKind.BAD_JSON, f"nested deeper than {MAX_DEPTH}")
    return value


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _children(outer)]
    return bool(level)


def _children(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _finite(text: str) -> float:
    """Refuse what Python reads but JSON does not know: NaN, Infinity, and 1e999, which could not be echoed."""
    if not math.isfinite(number := float(text)):
        raise ValueError("not a finite number")
    return number


# Values


def read_int(value: object, _type: object = int) -> int:
    """Return an integer of 64 bits that may have come as a decimal string, or as 1.0.

    Raises:
        TypeError: anything else, also a bool.
    """
    number = value
    if (isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,19}", value)) or (
        isinstance(value, float) and value.is_integer()
    ):
        number = int(value)
    if not isinstance(number, int) or isinstance(number, bool):
        raise TypeError(f"not an integer but {type(value).__name__}")
    if not -(2**63) <= number < 2**63:
        raise TypeError("an integer of more than 64 bits")
    return number


def _read_str(value: object, _type: object) -> str:
    if isinstance(value, str):
        return value
    return str(read_int(value))  # contact center sends some ids as numbers


def _read_bool(value: object, _type: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"not a boolean but {type(value).__name__}")
    return value


def _read_session(value: object, _type: object) -> SessionRef:
    if not isinstance(value, SessionRef):  # `variants` has made one, unless no id key held a string
        raise TypeError("no id")
    return value


def _read_attrs(value: object, attrs_class: type[Any]) -> Any:
    if not isinstance(value, dict):
        raise TypeError(f"not an object but {type(value).__name__}")
    return attrs_class(**split(attrs_class, value)[0])


_converter = cattrs.Converter(detailed_validation=False)
_converter.register_structure_hook(int, read_int)
_converter.register_structure_hook(str, _read_str)
_converter.register_structure_hook(bool, _read_bool)
_converter.register_structure_hook_func(attrs.has, _read_attrs)
_converter.register_structure_hook(SessionRef, _read_session)


def split(attrs_class: type[Any], fields: Fields) -> tuple[Fields, Fields]:
    """Part `fields` into arguments for `attrs_class` and the rest: unknown keys and unusable optional values."""
    known: Fields = {}
    rest = dict(fields)
    for field in attrs.fields(attrs_class):
        value = fields.get(field.name)
        required = field.default is attrs.NOTHING
        if field.name == "extra" or (value is None and not required):
            continue
        try:
            known[field.name] = _converter.structure(value, field.type)
        except (TypeError, ValueError) as exc:
            if required:
                raise TypeError(f"{field.name}: {exc if field.name in fields else 'missing'}") from None
        else:
            rest.pop(field.name, None)
    return known, {name: value for name, value in rest.items() if value is not None}
