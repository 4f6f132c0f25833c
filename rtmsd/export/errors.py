"""Errors of an export. Each kind has an exit status of rtmsctl, which `ctl/verbs/export` knows."""

from rtmsd.errors import RtmsdError


class ExportError(RtmsdError):
    """It cannot be exported.

    Attributes:
        hint: what a person can do about it, "" when the message says it already.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class WrongRequest(ExportError):
    """Options that do not fit each other, the format or the recording."""


class NoSuchParticipant(ExportError):
    """Nobody in the recording has the id that was asked for."""


class RecordingRevoked(ExportError):
    """The recording was deleted, before or while it was exported; what was written of it is gone."""
