"""`rtmsd demo`: a simulated Zoom and the real daemon play a session on this machine, things break, a report tells all.

No account, no network, no file to edit: the simulator runs in this process, the daemon as a process of its own, and
both talk over loopback as they would over the internet (webhooks that are signed, wss:// with a certificate).
"""

import importlib.util
import sys
from pathlib import Path
from typing import Final

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_INTERRUPTED: Final = 130  # as a shell has it for Ctrl-C

_MISSING: Final = """\
rtmsd demo: the package 'trustme' is missing; the simulated Zoom makes its certificate with it. Install it with
    {python} -m pip install 'rtmsd[demo]'
or, in a clone of the repository:
    {python} -m pip install '.[demo]'"""


def main(*, fast: bool = False, keep: Path | None = None) -> int:
    """Play the demo and return its exit status: 0 only if every check of its report holds.

    Args:
        fast: in compressed time, within 20 s, instead of about three minutes.
        keep: where the files go; None: a new temporary directory, which the report names and nobody removes.
    """
    if importlib.util.find_spec("trustme") is None:
        print(_MISSING.format(python=sys.executable), file=sys.stderr)
        return EXIT_FAILED

    from rtmsd.demo.performance import perform  # noqa: PLC0415 needs trustme

    return perform(fast=fast, keep=keep)
