"""What was asked for, what was granted and what was refused, by media type: the manifest's `media`."""

from collections.abc import Iterable, Mapping
from typing import Any

from rtmsd.protocol.bounds import bounded_text
from rtmsd.protocol.media_summary import summary
from rtmsd.protocol.messages import MediaParams
from rtmsd.recording.manifest.changes import ChangeCounter

Term = dict[str, Any]


class MediaTerms:
    """Attributes:
    asked_now: the media that are asked for by this process.

    Args:
        known: what an earlier process wrote; keys of a later version in it are kept.
    """

    def __init__(
        self, known: Mapping[str, Mapping[str, Any]] | None = None, changes: ChangeCounter | None = None
    ) -> None:
        self._changes = changes or ChangeCounter()
        self.asked_now: frozenset[str] = frozenset()
        self._terms: dict[str, Term] = {name: dict(term) for name, term in (known or {}).items()}

    def asked(self, params: MediaParams) -> None:
        """These media are asked for from now on."""
        told = summary(params)
        self.asked_now = frozenset(told)
        for name, asked in told.items():
            self._set(name, asked=asked)

    def granted(self, params: MediaParams) -> None:
        """A handshake granted these media, in this form."""
        for name, granted in summary(params).items():
            self._set(name, granted=granted, refused=None)

    def refused(self, media: Iterable[str], *, status: int | None, why: str, at_ms: int) -> None:
        """These media were refused, with a status code or, without one, for a reason in words."""
        for name in media:
            self._set(name, refused={"status": status, "why": bounded_text(why), "at_ms": at_ms})

    def started_again(self) -> None:
        """The stream had ended and is started again: what was refused before may be granted now."""
        for name in self._terms:
            self._set(name, refused=None)

    def to_manifest(self) -> dict[str, Term]:
        return {name: dict(term) for name, term in self._terms.items()}

    def _set(self, name: str, **term: Any) -> None:
        known = self._terms.get(name, {})
        self._terms[name] = {"asked": None, "granted": None, "refused": None, **known, **term}
        self._changes.note()
