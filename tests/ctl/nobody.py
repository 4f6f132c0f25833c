"""Being somebody who may do little."""

import contextlib
import os
from collections.abc import Iterator
from typing import Final

NOBODY: Final = 65534


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Be nobody for a while, if we are root: root may open everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
