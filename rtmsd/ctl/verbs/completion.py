"""completion: the script that teaches a shell our verbs and the ids of streams."""

import argparse
from typing import Final

from rtmsd.ctl.exits import Exit
from rtmsd.ctl.verb import COMPLETE_STREAM, Call, Verb

SHELLS: Final = ("bash", "zsh", "fish")

STREAM_PREAMBLE: Final = {
    "bash": f"""\
{COMPLETE_STREAM["bash"]}() {{
    compgen -W "$(rtmsctl ps -a 2>/dev/null | cut -f1)" -- "$1"
}}""",
    "zsh": f"""\
{COMPLETE_STREAM["zsh"]}() {{
    compadd -- ${{(f)"$(rtmsctl ps -a 2>/dev/null | cut -f1)"}}
}}""",
}


def completion(call: Call) -> Exit:
    """Print the script for a shell."""
    call.out.line(script(call.args.shell))
    return Exit.OK


def script(shell: str) -> str:
    """Return the completion script for one of `SHELLS`."""
    from rtmsd.ctl.main import add_globals, build_parser  # noqa: PLC0415 - it imports this module

    if shell == "fish":
        from rtmsd.ctl.fish import RecordingParser, fish_script  # noqa: PLC0415
        from rtmsd.ctl.verbs import ALL_VERBS, GROUPS  # noqa: PLC0415

        parser = RecordingParser()
        add_globals(parser, {})
        return fish_script(ALL_VERBS, GROUPS, parser.arguments)
    import shtab  # noqa: PLC0415

    return shtab.complete(build_parser(), shell=shell, preamble=STREAM_PREAMBLE)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, help="the shell to write for")
    parser.epilog = "bash: source <(rtmsctl completion bash) - fish: rtmsctl completion fish | source"


VERBS: Final = (Verb("completion", completion, "completion for bash, zsh or fish", _arguments),)
