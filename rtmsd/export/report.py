"""The report of an export: what was made of a recording, for people and as JSON."""

from collections.abc import Callable
from typing import Any

from rtmsd.export.source import Source


class Report:
    """Attributes:
    files: `path` and `bytes` of each result; more keys as the exporter knows them.
    duration_ms: of what was exported; None where there is no such thing.
    clipped: samples that were louder than 16 bit can be.
    notes: for people, a line each.

    Args:
        show: takes the part that is done, from 0 to 1.
    """

    def __init__(self, source: Source, show: Callable[[float], None] = lambda _: None) -> None:
        self.files: list[dict[str, Any]] = []
        self.duration_ms: int | None = None
        self.clipped = 0
        self.notes: list[str] = []
        self._source = source
        self._show = show

    def progress(self, done: float) -> None:
        """Note the part that is done, from 0 to 1; to be called at least once a second.

        Raises:
            RecordingRevoked: the recording was deleted meanwhile.
        """
        self._source.check()
        self._show(min(max(done, 0.0), 1.0))

    def share(self, number: int, of: int) -> Callable[[float], None]:
        """Return the progress of one of several parts, which are numbered from 0."""
        return lambda done: self.progress((number + done) / of)

    def to_json(self) -> dict[str, Any]:
        """Return the object of `--json`."""
        return {
            "directory": str(self._source.directory),
            "files": self.files,
            "duration_ms": self.duration_ms,
            "clipped": self.clipped,
            "live_until_ms": self._source.end_ms if self._source.is_live else None,
            "notes": self.notes,
            "problems": [problem._asdict() for problem in self._source.problems],
        }
