"""Output to a terminal: standard streams that can always be written to, and text that cannot harm it.

Names, ids and reasons come from participants and servers: each goes through `printable` before a person sees it.
"""

import io
import os
import sys
from contextlib import suppress
from typing import Any, Final, TextIO

_STREAMS: Final = (("stdin", "r", "replace"), ("stdout", "w", "backslashreplace"), ("stderr", "w", "backslashreplace"))


def printable(text: Any) -> str:
    """Return `text` on one line and harmless to a terminal: unprintable characters are escaped."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode() for char in str(text)
    )


def complain(text: str) -> None:
    """Write lines to the standard error output; if that fails, they are lost without a traceback."""
    with suppress(OSError, ValueError):
        print("\n".join(map(printable, text.split("\n"))), file=sys.stderr, flush=True)


def prepare_streams() -> None:
    """Make standard input, output and error usable, whatever the caller did to them.

    A closed one (`2>&-`) becomes the null device, so that no file opened later takes its number and is written to by
    accident. Characters that the output's encoding lacks are escaped.
    """
    for number, (name, mode, errors) in enumerate(_STREAMS):
        stream = getattr(sys, name)
        if stream is None:  # closed from the start
            setattr(sys, name, os.fdopen(_null_device(number), mode, encoding="utf-8", errors=errors))
        elif isinstance(stream, io.TextIOWrapper):
            with suppress(OSError):  # another file that took its number may not be seekable
                stream.reconfigure(errors=errors)


def silence_stdout() -> None:
    """Keep Python from retrying a failed write at its exit."""
    _silence(sys.stdout)


def settle_stderr() -> None:
    """Drop what the standard error output refuses: at Python's exit it would change the exit status."""
    try:
        sys.stderr.flush()
    except OSError:
        _silence(sys.stderr)


def _silence(stream: TextIO) -> None:
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, stream.fileno())
    os.close(devnull)


def _null_device(number: int) -> int:
    """Return a descriptor of the null device: `number`, unless that was taken meanwhile."""
    opened = os.open(os.devnull, os.O_RDWR)
    if opened != number:
        try:
            os.fstat(number)
        except OSError:
            os.dup2(opened, number)
            os.close(opened)
            opened = number
    if opened == number:
        os.set_inheritable(number, True)
    return opened


def error_text(error: OSError) -> str:
    """Return the file and the cause; without a file name it was the standard output."""
    where = error.filename if error.filename is not None else "standard output"
    return f"{os.fsdecode(where) if isinstance(where, str | bytes | os.PathLike) else where}: {error.strerror or error}"
