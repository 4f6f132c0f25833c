"""Containers written by PyAV into a file of Python's: what a disk refuses is raised as it was."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO, Final

from rtmsd.export.errors import ExportError

_BUFFER_BYTES: Final = 2**18
_OPTIONS: Final = {"flush_packets": "0"}  # else MP4 writes each picture by itself


class _Sink:
    """A file for PyAV, which goes on with it when it closes a container that failed, and then raises something else.

    Attributes:
        error: the first one, which may be a signal's.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: BaseException | None = None

    def write(self, content: bytes) -> int:
        return len(content) if self.error is not None else self._try(self._file.write, content)

    def seek(self, offset: int, whence: int = 0) -> int:
        return 0 if self.error is not None else self._try(self._file.seek, offset, whence)

    def tell(self) -> int:
        return 0 if self.error is not None else self._try(self._file.tell)

    def _try(self, call: Callable[..., int], *args: object) -> int:
        try:
            return call(*args)
        except BaseException as error:
            self.error = error
            raise


@contextmanager
def container(av: Any, file: BinaryIO, form: str, options: Mapping[str, str] | None = None) -> Iterator[Any]:
    """A container to be written.

    Args:
        form: as FFmpeg calls it.
        options: more of FFmpeg's.

    Raises:
        OSError: the disk refuses.
        ExportError: FFmpeg does.
    """
    sink = _Sink(file)
    try:
        with av.open(
            sink, "w", format=form, options={**_OPTIONS, **(options or {})}, buffer_size=_BUFFER_BYTES
        ) as opened:
            yield opened
    except BaseException as error:
        if sink.error is not None:
            raise sink.error from None
        if isinstance(error, av.error.FFmpegError):
            raise ExportError(f"FFmpeg cannot write it: {error.strerror}") from error
        raise
