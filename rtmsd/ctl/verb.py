"""A verb of rtmsctl as a table entry, and what it is called with."""

import argparse
import os
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote

from rtmsd.ctl.exits import CtlError, Exit
from rtmsd.ctl.output import Output

if TYPE_CHECKING:
    from rtmsd.ctl.client import AdminClient

DEFAULT_SOCKET: Final = "/run/rtmsd/admin.sock"
_LIST_IDS: Final = "rtmsctl ps -a 2>/dev/null | cut -f1"
COMPLETE_STREAM: Final = {
    "bash": "_rtmsctl_streams",
    "zsh": f"($({_LIST_IDS}))",
    "fish": f"({_LIST_IDS})",
    "preamble": {"bash": f'_rtmsctl_streams() {{ compgen -W "$({_LIST_IDS})" -- "$1"; }}'},
}
"""How shells complete the id of a stream: what `shtab.cmd` would return, without importing shtab."""


def default_socket(environ: Mapping[str, str] = os.environ) -> str:
    """Return the socket for want of --socket."""
    return environ.get("RTMSD_SOCKET") or DEFAULT_SOCKET


class Call:
    """One call of a verb.

    Attributes:
        args: its parsed arguments, with the global `socket` and `timeout`.
        out: standard output.
    """

    def __init__(self, args: argparse.Namespace, out: Output) -> None:
        self.args = args
        self.out = out

    @cached_property
    def client(self) -> "AdminClient":
        """The daemon. Imported only for verbs that talk to it: `http.client` is half of our start-up time."""
        from rtmsd.ctl.client import AdminClient  # noqa: PLC0415

        return AdminClient(self.args.socket, self.args.timeout)


Run = Callable[[Call], Exit]
Arguments = Callable[[argparse.ArgumentParser], None]


def no_arguments(parser: argparse.ArgumentParser) -> None:
    """For verbs that take none."""


class Verb(NamedTuple):
    """A verb. A name of two words belongs to a group.

    Attributes:
        run: does it; raises CtlError when it cannot.
        summary: one line, for the list of verbs.
        arguments: adds its arguments to its parser.
    """

    name: str
    run: Run
    summary: str
    arguments: Arguments = no_arguments


def stream_path(stream: str, *rest: str) -> str:
    """Return the path of one stream, named by its id or a unique prefix. Raises CtlError for an empty name.

    The daemon resolves prefixes; an id may contain "/" and is therefore encoded whole.
    """
    if not stream:
        raise CtlError(Exit.USAGE, "a stream's name is empty", "`rtmsctl ps` lists the streams.")
    return "/".join(("/v1/streams", quote(stream, safe=""), *rest))


def stream_argument(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    """Add the name of one stream; None when it is optional and not there."""
    help_text = "id of a stream, or the beginning of one"
    argument = parser.add_argument("stream", metavar="STREAM", nargs="?" if optional else None, help=help_text)
    vars(argument)["complete"] = COMPLETE_STREAM  # where shtab looks; argparse declares no such attribute
