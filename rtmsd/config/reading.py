"""The strict reader of TOML's tables into the classes of `model.py`, which goes on after a mistake.

Nothing is converted: `"65"` is no number and `true` is no 1.
"""

import difflib
import json
import re
import types
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar, get_args, get_origin, get_type_hints

import attrs

from rtmsd.config.model import file_fields
from rtmsd.config.overrides import Overrides
from rtmsd.config.rules.secret import SECRET, Secret, find_secret
from rtmsd.config.rules.values import Mistake, resolve
from rtmsd.config.sinks import KINDS, SinkConfig

T = TypeVar("T")

WRONG: Final = object()  # in place of a value whose mistake was added


class Reader:
    """Reads values, and collects mistakes and warnings.

    Attributes:
        mistakes: path of a key to what is wrong with it; the first mistake of a key stands.
        warnings: whole lines, with their path.
        given: paths of what stands in the file.
    """

    def __init__(self, root: type, file: Path) -> None:
        """Prepare to read a file.

        Args:
            root: class of the whole file, to say where a misplaced key belongs.
            file: the configuration file; relative names start from its directory.
        """
        self.mistakes: dict[str, str] = {}
        self.warnings: list[str] = []
        self.given: set[str] = set()
        self._file = file
        self._places = _places(root)

    def mistake(self, path: str, text: str) -> None:
        self.mistakes.setdefault(path, text)

    @contextmanager
    def catching(self, path: str) -> Iterator[None]:
        """Have a `Mistake` that is raised in the block be one of this key, and the block end there."""
        try:
            yield
        except Mistake as mistake:
            self.mistake(path, str(mistake))

    def is_sound(self, path: str) -> bool:
        """Return whether there is no mistake at this path or below it."""
        return not any(wrong == path or wrong.startswith((path + ".", path + "[")) for wrong in self.mistakes)

    def table(self, cls: type[T], table: Mapping[str, object], path: str = "") -> T | None:
        """Read one table; a wrong value counts as left out. None if a key without a default is missing or wrong."""
        prefix = f"{path}." if path else ""
        hints = get_type_hints(cls, include_extras=True)
        fields = dict(file_fields(cls))
        for key in table:
            if key not in fields:
                self.mistake(prefix + _shown(key), _unknown_key(key, fields, path, self._places))
        values: dict[str, object] = {}
        for key, field in fields.items():
            if key in table:
                value = self.value(hints[field.name], table[key], prefix + key)
                if value is not WRONG:
                    values[field.name] = value
            elif field.default is attrs.NOTHING:
                self.mistake(prefix + key, "is missing, and has no default")
        complete = all(field.name in values or field.default is not attrs.NOTHING for field in fields.values())
        return cls(**values) if complete else None

    def value(self, hint: object, value: object, path: str) -> object:
        """Read one value as a class's type hint asks, or add its mistake and return `WRONG`."""
        self.given.add(path)
        try:
            return self._read(hint, value, path)
        except Mistake as mistake:
            self.mistake(path, str(mistake))
            return WRONG

    def _read(self, hint: Any, value: object, path: str) -> object:
        if hint == Secret:
            return self._secret(value, path)
        if hint in _SCALARS:
            return _SCALARS[hint](value)
        if hint is SinkConfig:
            return self._of_kind(value, path)
        if get_origin(hint) is Overrides:
            return self._overrides(get_args(hint)[0], value, path)
        if hint is Path:
            return resolve(_text(value), self._file.parent)
        if attrs.has(hint):
            if not isinstance(value, Mapping):
                raise Mistake(f"must be a section, not {_kind(value)}")
            result = self.table(hint, value, path)
            return WRONG if result is None else result
        origin, args = get_origin(hint), get_args(hint)
        if origin is Annotated:
            inner, rules = (Secret, args[2:]) if args[1] is SECRET else (args[0], args[1:])
            return self._ruled(inner, rules, value, path)
        if origin is Literal:
            return _one_of(args, value)
        if origin is tuple:
            return self._list(args[0], value, path)
        assert origin is types.UnionType, hint
        return None if value == "" and args[0] is Path else self._read(args[0], value, path)

    def _overrides(self, section: type, value: object, path: str) -> object:
        return Overrides(tuple(sorted(self._own_keys(section, value, path, _places(section, path)))), path)

    def _own_keys(
        self, section: type, value: object, path: str, places: Mapping[str, str], below: str = ""
    ) -> Iterator[tuple[str, object]]:
        """Yield the keys of a section that stand under an app, by their path in it."""
        if not isinstance(value, Mapping):
            raise Mistake(f"must be a section, not {_kind(value)}")
        hints, fields = get_type_hints(section, include_extras=True), dict(file_fields(section))
        known = {key: field for key, field in fields.items() if "file_wide" not in field.metadata}
        for key, found in value.items():
            here = f"{path}.{_shown(key)}"
            if key in fields.keys() - known.keys():
                self.mistake(here, f"holds for all apps: it stands in section {self._places[key]} alone")
            elif key not in known:
                self.mistake(here, _unknown_key(key, known, path, places))
            elif attrs.has(hints[known[key].name]):
                with self.catching(here):
                    yield from self._own_keys(hints[known[key].name], found, here, places, f"{below}{key}.")
            elif (own := self.value(hints[known[key].name], found, here)) is not WRONG:
                yield below + key, own

    def _of_kind(self, value: object, path: str) -> object:
        """Read a section whose key `kind` says which keys it takes."""
        if not isinstance(value, Mapping):
            raise Mistake(f"must be a section, not {_kind(value)}")
        if "kind" not in value:
            self.mistake(f"{path}.kind", f"is missing: {' or '.join(map(_toml, KINDS))}")
            return WRONG
        kind = self.value(Literal[tuple(KINDS)], value["kind"], f"{path}.kind")
        result = None if kind is WRONG else self.table(KINDS[str(kind)], value, path)
        return WRONG if result is None else result

    def _ruled(self, hint: object, rules: tuple[Callable[[object], None], ...], value: object, path: str) -> object:
        result = self._read(hint, value, path)
        if result is not WRONG:
            for rule in rules:
                rule(result)
        return result

    def _list(self, hint: Any, value: object, path: str) -> object:
        if hint == Secret and not isinstance(value, list):
            return (self._secret(value, path),)  # the usual case; a list is for the days in which a secret changes
        if isinstance(value, Mapping) and attrs.has(hint):
            raise Mistake(f"takes two brackets: [[{path}]]")
        if not isinstance(value, list):
            raise Mistake(f"must be a list, [ ... ], not {_kind(value)}")
        items = tuple(self.value(hint, item, f"{path}[{index}]") for index, item in enumerate(value))
        if attrs.has(hint):
            return tuple(item for item in items if item is not WRONG)  # the sound ones can still be compared
        return WRONG if WRONG in items else items

    def _secret(self, value: object, path: str) -> str:
        found = find_secret(value, self._file)
        if found.warning:
            self.warnings.append(f"{path}: {found.warning}")
        return found.text


def _unknown_key(key: str, known: Collection[str], path: str, places: Mapping[str, str]) -> str:
    """Suggest a near miss in the same section, or the section that has this key."""
    near = difflib.get_close_matches(key.lower(), known, n=1)
    if near:
        return f"unknown key; did you mean {near[0]}?"
    here = f"section {path}" if path else "the top of the file"
    if key in places:
        return f"unknown key in {here}; it belongs in section {places[key]}"
    return f"unknown key; {here} takes {', '.join(known)}"


def _places(root: type, path: str = "") -> dict[str, str]:
    """Return each key of the file with the sections it may stand in."""
    places: dict[str, str] = {}
    for key, section in _keys(root, path):
        places[key] = f"{places[key]} or {section}" if key in places else section
    return places


def _keys(cls: type, path: str) -> Iterator[tuple[str, str]]:
    hints = get_type_hints(cls)
    for key, field in file_fields(cls):
        hint = hints[field.name]
        if get_origin(hint) is Overrides:  # keys of another section
            continue
        section = next((part for part in (hint, *get_args(hint)) if attrs.has(part)), None)
        if section is None:
            yield key, path
        else:
            yield from _keys(section, f"{path}.{key}" if path else key)


def _kind(value: object) -> str:
    """Name what TOML made of a value, without the value: it may be a secret in the wrong place."""
    for kind, name in _KINDS:
        if isinstance(value, kind):
            return name
    return "a date or time"


_KINDS: Final = (
    (bool, "true or false"),
    (int, "a whole number"),
    (float, "a number with a fraction"),
    (str, "a text in quotes"),
    (list, "a list"),
    (Mapping, "a section"),
)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise Mistake(f"must be true or false, without quotes, not {_kind(value)}")
    return value


def _whole_number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise Mistake(f"must be a whole number, not {_kind(value)}")
    return _in_64_bits(value)


def _number(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise Mistake(f"must be a number, not {_kind(value)}")
    return value if isinstance(value, float) else _in_64_bits(value)


def _in_64_bits(value: int) -> int:
    if not -(2**63) <= value < 2**63:  # TOML's limit, which tomllib does not keep; Python may refuse to print more
        raise Mistake("is too large a number")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise Mistake(f"must be a text in quotes, not {_kind(value)}")
    return value


_SCALARS: Final[Mapping[object, Callable[[object], object]]] = {
    bool: _flag,
    int: _whole_number,
    float: _number,
    str: _text,
}


def _one_of(allowed: tuple[str | int, ...], value: object) -> object:
    _SCALARS[type(allowed[0])](value)
    if value not in allowed:
        raise Mistake(f"must be {' or '.join(map(_toml, allowed))}, not {_toml(value)}")
    return value


def _toml(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _shown(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else repr(key)
