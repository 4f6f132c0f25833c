"""The media types asked for, granted and refused: the manifest's `media`."""

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from rtmsd.protocol.bounds import bounded_text
from rtmsd.protocol.media_summary import summary
from rtmsd.protocol.messages import MediaParams
from rtmsd.recording.manifest.changes import ChangeCounter
from rtmsd.recording.manifest.schema import MediaTerm, Refusal


class MediaTerms:
    """Attributes:
    asked_now: the media that are asked for by this process.

    Args:
        known: what an earlier process wrote; keys of a later version in it are kept.
    """

    def __init__(self, known: Mapping[str, MediaTerm] | None = None, changes: ChangeCounter | None = None) -> None:
        self._changes = changes or ChangeCounter()
        self.asked_now: frozenset[str] = frozenset()
        self._terms = dict(known or {})

    def asked(self, params: MediaParams) -> None:
        asked_now = summary(params)
        self.asked_now = frozenset(asked_now)
        for name, asked in asked_now.items():
            self._set(name, asked=asked)

    def granted(self, params: MediaParams) -> None:
        for name, granted in summary(params).items():
            self._set(name, granted=granted, refused=None)

    def refused(self, media: Iterable[str], *, status: int | None, why: str, at_ms: int) -> None:
        """These media were refused, with a status code or, without one, for a reason in words."""
        for name in media:
            self._set(name, refused=Refusal(status=status, why=bounded_text(why), at_ms=at_ms))

    def started_again(self) -> None:
        """The stream had ended and is started again: what was refused before may be granted now."""
        for name in self._terms:
            self._set(name, refused=None)

    def inherit(self, terms: Mapping[str, MediaTerm]) -> None:
        """Another member had the stream since: what it was told is newer."""
        self._terms.update(terms)
        self._changes.note()

    def entries(self) -> dict[str, MediaTerm]:
        return dict(self._terms)

    def _set(self, name: str, **term: Any) -> None:
        self._terms[name] = replace(self._terms.get(name, MediaTerm()), **term)
        self._changes.note()
