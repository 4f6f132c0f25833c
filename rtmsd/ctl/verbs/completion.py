"""completion: the script that teaches a shell our verbs, options and the ids of streams."""

import shtab

from rtmsd.ctl.cli import build_parser
from rtmsd.ctl.context import Call
from rtmsd.ctl.errors import Exit


def completion(call: Call) -> Exit:
    """Print the script for a shell."""
    call.out.line(shtab.complete(build_parser(), shell=call.args.shell))
    return Exit.OK
