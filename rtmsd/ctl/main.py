"""The entry point of rtmsctl: arguments in, exit status out."""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Final

from rtmsd.ctl.cli import build_parser
from rtmsd.ctl.context import Context
from rtmsd.ctl.errors import CtlError, Exit
from rtmsd.ctl.output import Output
from rtmsd.terminal import complain, error_text, prepare_streams, settle_stderr, silence_stdout

Run = Callable[[Context], Exit | None]
"""A verb; raises CtlError when it fails. None is OK."""

INTERRUPTED: Final = 130  # as a shell reports SIGINT


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit status; a usage error leaves with 2, as argparse does."""
    prepare_streams()
    try:
        try:
            args = build_parser(sys.argv[1:] if argv is None else argv).parse_args(argv)
            return find(args.run)(Context(args, Output.to(sys.stdout, as_json=args.json))) or Exit.OK
        finally:
            sys.stdout.flush()  # now, while a failure can still be handled: `--help` leaves with SystemExit
    except CtlError as error:
        return _complain(error.exit_code, str(error), error.hint)
    except BrokenPipeError:  # the reader closed our output (`| head`): no failure
        silence_stdout()
        return Exit.OK
    except PermissionError as error:
        return _complain(Exit.NOT_PERMITTED, error_text(error))
    except OSError as error:  # a file, or stdout
        silence_stdout()
        return _complain(Exit.FAILED, error_text(error))
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        settle_stderr()


def find(target: str) -> Run:
    """Return the function that "module:function" names."""
    module, _, function = target.partition(":")
    run: Run = getattr(import_module(f"rtmsd.ctl.verbs.{module}"), function)
    return run


def _complain(code: Exit, message: str, hint: str = "") -> Exit:
    complain(f"rtmsctl: {message}" + (f"\n{hint}" if hint else ""))
    return code
