"""Entries of a manifest: objects with known fields, which keep the keys of a later version and write them back."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final

import msgspec

_OTHERS: Final = "\x7fothers"  # the encoded name of `others`: no key of any version


class Entry(msgspec.Struct, kw_only=True, rename={"others": _OTHERS}):
    """The base of what a manifest is made of.

    Attributes:
        others: keys that are not fields here, with their values.
    """

    nested: ClassVar[tuple[str, ...]] = ()
    """The fields that hold an entry, a list of entries, or an object of entries."""

    others: dict[str, Any] = {}


def keep_others(entry: Entry, plain: Mapping[str, Any]) -> None:
    """Add to an entry, and to those in it, the keys of the JSON object it was converted from that are not fields."""
    known = entry.__struct_encode_fields__
    entry.others = {name: value for name, value in plain.items() if name not in known}
    for inner, plain_inner in _pairs(entry, plain):
        keep_others(inner, plain_inner)


def to_json(entry: Entry) -> dict[str, Any]:
    """Return an entry as a JSON object, with the keys that it keeps."""
    plain: dict[str, Any] = msgspec.to_builtins(entry)
    _merge_others(entry, plain)
    return plain


def _merge_others(entry: Entry, plain: dict[str, Any]) -> None:
    for name, value in plain.pop(_OTHERS, {}).items():
        plain.setdefault(name, value)
    for inner, plain_inner in _pairs(entry, plain):
        _merge_others(inner, plain_inner)


def _pairs(entry: Entry, plain: Mapping[str, Any]) -> Iterator[tuple[Entry, dict[str, Any]]]:
    """Yield the entries in an entry, each with the JSON object of it."""
    for name in entry.nested:
        match getattr(entry, name):
            case Entry() as inner:
                yield inner, plain[name]
            case list() as inners:
                yield from zip(inners, plain.get(name, ()), strict=True)
            case dict() as inners:
                yield from ((inner, plain[name][key]) for key, inner in inners.items())
