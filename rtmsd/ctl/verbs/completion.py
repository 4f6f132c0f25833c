"""completion: a shell script that completes verbs, options and the ids of streams."""

import shtab

from rtmsd.ctl.cli import build_parser
from rtmsd.ctl.context import Context


def completion(context: Context) -> None:
    """Print the script for a shell."""
    context.out.line(shtab.complete(build_parser(), shell=context.args.shell))
