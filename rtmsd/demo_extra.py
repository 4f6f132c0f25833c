"""The optional dependencies named `demo`, and the error when they are missing."""

import importlib.util
import sys
from typing import Final

_MISSING: Final = """\
{command}: the package 'trustme' is missing; the simulated Zoom makes its certificate with it. Install it with
    {python} -m pip install 'rtmsd[demo]'
or, in a clone of the repository:
    {python} -m pip install '.[demo]'"""


def missing_extra(command: str) -> str:
    """Return the error for the user of `command`; "" when the dependencies are installed."""
    if importlib.util.find_spec("trustme") is not None:
        return ""
    return _MISSING.format(command=command, python=sys.executable)
