"""Entries of the manifest's lists of people, pauses and connections: what a later version says of one is kept, though
nobody here knows what it means. Files and gaps change too much for that.
"""

from typing import Any, ClassVar, Self

import attrs


@attrs.define
class Entry:
    """Base of what a list of the manifest holds.

    Attributes:
        others: keys that are none of ours.
    """

    untold: ClassVar[frozenset[str]] = frozenset()
    """Attributes that are none of the manifest's."""

    others: dict[str, Any] = attrs.field(factory=dict, kw_only=True, repr=False)

    @classmethod
    def from_manifest(cls, entry: dict[str, Any]) -> Self:
        names = cls._told()
        known = {name: value for name, value in entry.items() if name in names}
        return cls(**known, others={name: value for name, value in entry.items() if name not in names})

    def to_manifest(self) -> dict[str, Any]:
        return {**{name: getattr(self, name) for name in self._told()}, **self.others}

    @classmethod
    def _told(cls) -> list[str]:
        return [field.name for field in attrs.fields(cls) if field.name not in {"others", *cls.untold}]
