"""`rtmsd demo`: a simulated Zoom and the real daemon play a session on this machine, things break, a report tells all.

No account, no network, no file to edit: the simulator runs in this process, the daemon as a process of its own, and
both talk over loopback as they would over the internet (webhooks that are signed, wss:// with a certificate).
"""

from pathlib import Path
from typing import Final

from rtmsd.demo_extra import missing_extra
from rtmsd.terminal import complain

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_INTERRUPTED: Final = 130  # as a shell has it for Ctrl-C


def main(*, fast: bool = False, keep: Path | None = None) -> int:
    """Play the demo and return its exit status: 0 only if every check of its report holds.

    Args:
        fast: in compressed time, within 20 s, instead of about three minutes.
        keep: where the files go; None: a new temporary directory, which the report names and nobody removes.
    """
    if missing := missing_extra("rtmsd demo"):
        complain(missing)
        return EXIT_FAILED

    from rtmsd.demo.performance import perform  # noqa: PLC0415 needs trustme

    return perform(fast=fast, keep=keep)
