"""Teaches a packet reader what the messages look like that went the long way."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from rtmsd.protocol.audio_form import find_form
from rtmsd.protocol.media_data import Raw

if TYPE_CHECKING:
    from rtmsd.accelerator._packets import Reader

_MOST_PATIENT: Final = 1024


class FormLearner:
    """Looks at one message of a batch, which takes about as long as to decode two; and at ever fewer batches as long as
    they teach nothing new, or so much that something else is forgotten for it.
    """

    def __init__(self, reader: "Reader") -> None:
        self._reader = reader
        self._patience = 1  # looks at one of so many batches
        self._batches = 0  # since the last look

    def look(self, batch: Sequence[Raw]) -> None:
        """These messages went the long way."""
        self._batches += 1
        if self._batches < self._patience:
            return
        self._batches = 0
        raw = bytes(batch[-1])
        if self._reader.knows(raw):
            return
        form = find_form(raw)
        is_useful = form is not None and self._reader.learn(
            form.message, form.data_at, form.data_chars, form.data_bytes, form.time_at, form.user_id, form.user_name
        )
        self._patience = 1 if is_useful else min(2 * self._patience, _MOST_PATIENT)
