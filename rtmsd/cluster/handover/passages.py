"""The result of hand-overs: where each stream went, or why it did not."""

import enum
from collections.abc import Mapping

import attrs

from rtmsd.errors import RtmsdError


class Fate(enum.Enum):
    """What became of a stream that was to be handed over."""

    HANDED_OVER = "handed_over"
    ENDED = "ended"  # meanwhile: its files are finished here
    STAYED = "stayed"  # it goes on here


@attrs.frozen
class Passage:
    """One stream.

    Attributes:
        node: the member that has it; None unless it was handed over.
        why: the reason for which it stayed.
    """

    fate: Fate
    node: str | None = None
    why: str | None = None


@attrs.frozen
class DrainResult:
    """Passages by `rtms_stream_id`."""

    passages: Mapping[str, Passage]

    @property
    def stayed(self) -> Mapping[str, str]:
        """The reasons of those that are still here."""
        return {key: each.why or "" for key, each in self.passages.items() if each.fate is Fate.STAYED}


class NotMoved(RtmsdError):
    """A stream is where it was; the text is the reason."""
