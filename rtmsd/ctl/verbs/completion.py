"""completion: the script that teaches a shell our verbs, options and the ids of streams."""

import shtab

from rtmsd.ctl.call import Call
from rtmsd.ctl.exits import Exit
from rtmsd.ctl.grammar import build_parser


def completion(call: Call) -> Exit:
    """Print the script for a shell."""
    call.out.line(shtab.complete(build_parser(), shell=call.args.shell))
    return Exit.OK
