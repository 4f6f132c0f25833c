"""Keys of `[media]` and `[recording]` that stand under one app, as `[app.media]`: each replaces that key alone."""

from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import attrs

T = TypeVar("T")

FILE_WIDE: Final = {"file_wide": True}
"""Metadata of a key that holds for the whole file, in a section whose other keys may stand under an app."""


@attrs.frozen
class Overrides(Generic[T]):
    """The keys of section `T` that an app has for itself.

    Attributes:
        values: by key below the section, such as `("audio.codec", "G722")`.
        path: of the section in the file, such as `app[1].media`; "": it is not there.
    """

    values: tuple[tuple[str, object], ...] = ()
    path: str = attrs.field(default="", eq=False)

    def __contains__(self, key: str) -> bool:
        return any(own == key for own, _ in self.values)

    def applied(self, section: T) -> T:
        """Return the file's section as it holds for the app."""
        for key, value in self.values:
            section = _replaced(section, key, value)
        return section

    def nested(self) -> dict[str, Any]:
        """Return the values as the file has them, sections within sections."""
        tables: dict[str, Any] = {}
        for key, value in self.values:
            *sections, name = key.split(".")
            table = tables
            for section in sections:
                table = table.setdefault(section, {})
            table[name] = list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value
        return tables


def _replaced(section: Any, key: str, value: object) -> Any:
    name, _, below = key.partition(".")
    return attrs.evolve(section, **{name: _replaced(getattr(section, name), below, value) if below else value})
