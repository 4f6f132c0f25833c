"""rtmsctl: arguments in, exit code out."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

from rtmsd import __version__
from rtmsd.ctl.arguments import positive_seconds
from rtmsd.ctl.exits import CtlError, Exit
from rtmsd.ctl.output import Output
from rtmsd.ctl.verb import DEFAULT_SOCKET, Call, Run, default_socket
from rtmsd.ctl.verbs import ALL_VERBS, GROUPS

DEFAULT_TIMEOUT_S: Final = 10.0
INTERRUPTED: Final = 130  # as a shell reports SIGINT

EPILOG: Final = (
    "exit status: 0 ok, 1 failed, 2 usage or ambiguous prefix, 3 daemon not reachable, 4 no such stream, "
    "5 not permitted, 6 timed out, 7 refused in this state"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit status; a usage error leaves with 2, as argparse does."""
    args = build_parser().parse_args(argv)
    run: Run = args.run
    try:
        return run(Call(args, Output.to(sys.stdout, as_json=args.json)))
    except CtlError as error:
        return _complain(error.exit_code, str(error), error.mend)
    except BrokenPipeError:  # the reader of our output has had enough (`| head`): no failure
        _leave_stdout()
        return Exit.OK
    except PermissionError as error:
        return _complain(Exit.NOT_PERMITTED, str(error))
    except OSError as error:  # a file, or stdout
        _leave_stdout()
        return _complain(Exit.FAILED, str(error))
    except KeyboardInterrupt:
        return INTERRUPTED


def _complain(code: Exit, message: str, mend: str = "") -> Exit:
    print(f"rtmsctl: {message}", file=sys.stderr)
    if mend:
        print(mend, file=sys.stderr)
    return code


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all verbs; `completion` reads it too."""
    parser = argparse.ArgumentParser(
        prog="rtmsctl", description="Ask and control the rtmsd daemon.", epilog=EPILOG, allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"rtmsctl {__version__}")
    add_globals(parser, {"socket": default_socket(), "timeout": DEFAULT_TIMEOUT_S, "json": False})
    add_to = {"": parser.add_subparsers(metavar="VERB", required=True, title="verbs").add_parser}
    for verb in ALL_VERBS:
        group, _, name = verb.name.rpartition(" ")
        if group not in add_to:
            grouped = add_to[""](group, help=GROUPS[group], description=GROUPS[group], allow_abbrev=False)
            add_to[group] = grouped.add_subparsers(metavar="VERB", required=True, title="verbs").add_parser
        verb_parser = add_to[group](name, help=verb.summary, description=verb.summary, allow_abbrev=False)
        # The global options are understood after the verb too; when they are not there, what stands before it holds.
        add_globals(verb_parser, {})
        verb.arguments(verb_parser)
        verb_parser.set_defaults(run=verb.run)
    return parser


def add_globals(parser: argparse.ArgumentParser, defaults: Mapping[str, Any]) -> None:
    """Add the options of every verb. One without a default leaves no trace when it is not given."""

    def default(name: str) -> Any:
        return defaults.get(name, argparse.SUPPRESS)

    parser.add_argument(
        "--socket",
        metavar="PATH",
        default=default("socket"),
        help=f"the admin socket (default: $RTMSD_SOCKET, else {DEFAULT_SOCKET})",
    )
    parser.add_argument(
        "--timeout",
        metavar="S",
        type=positive_seconds,
        default=default("timeout"),
        help=f"longest wait for an answer, in seconds (default: {DEFAULT_TIMEOUT_S:g})",
    )
    parser.add_argument("--json", action="store_true", default=default("json"), help="JSON instead of tables")


def _leave_stdout() -> None:
    """Keep Python from writing at exit what could not be written now."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)
