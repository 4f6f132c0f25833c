"""A process without privileges."""

import contextlib
import os
from collections.abc import Iterator
from typing import Final

NOBODY: Final = 65534


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Run as nobody, if we are root: root may open everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
