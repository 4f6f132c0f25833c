"""completion: the script that teaches a shell our verbs, options and the ids of streams."""

import argparse
from typing import Final

from rtmsd.ctl.exits import Exit
from rtmsd.ctl.verb import Call, Verb

SHELLS: Final = ("bash", "zsh", "fish")


def completion(call: Call) -> Exit:
    """Print the script for a shell."""
    import shtab  # noqa: PLC0415

    from rtmsd.ctl.main import build_parser  # noqa: PLC0415 - it imports this module

    call.out.line(shtab.complete(build_parser(), shell=call.args.shell))
    return Exit.OK


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, help="the shell to write for")
    parser.epilog = "bash: source <(rtmsctl completion bash) - fish: rtmsctl completion fish | source"


VERBS: Final = (Verb("completion", completion, "completion for bash, zsh or fish", _arguments),)
