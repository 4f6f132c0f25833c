"""Media that are text: one line of JSON for each message, in one file for everybody."""

from rtmsd.recording.manifest.schema import FileEntry
from rtmsd.recording.media.resumed import ResumedMedia
from rtmsd.recording.media.store import Data, IntakeContext, MediaStore


class TextStore(MediaStore[Data]):
    """The base of what keeps lines, in `<media>.jsonl`."""

    def __init__(self, context: IntakeContext) -> None:
        super().__init__(context)
        self._lines = context.maker.existing(f"{self.media}.jsonl", 0)

    @property
    def received_bytes(self) -> int:
        return self._lines.received_bytes

    def restore(self, resumed: ResumedMedia) -> None:
        self._lines.cut(resumed.sizes.get(self._lines.path.name, 0))

    def entries(self) -> list[FileEntry]:
        if not self._lines.size_bytes:
            return []
        started_ms = self._context.started_ms
        return [
            FileEntry(
                path=self._lines.path.name,
                media=self.media,
                user_id=None,
                start_ms=started_ms,
                duration_ms=max(0, (self._newest_ms or 0) - started_ms),
                bytes=self._lines.size_bytes,
            )
        ]
