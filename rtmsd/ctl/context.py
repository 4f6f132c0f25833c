"""The context of one call of a verb: its arguments, standard output and the daemon."""

import argparse
from functools import cached_property
from typing import TYPE_CHECKING

from rtmsd.ctl.output import Output
from rtmsd.terminal import complain

if TYPE_CHECKING:
    from rtmsd.ctl.client import AdminClient


class Context:
    """Arguments, output and client of one call of a verb.

    Attributes:
        args: its parsed arguments, with the global `socket`.
        out: standard output.
    """

    def __init__(self, args: argparse.Namespace, out: Output) -> None:
        self.args = args
        self.out = out

    @property
    def timeout_s(self) -> float:
        """The longest wait for an answer."""
        timeout_s: float = self.args.usual_timeout_s if self.args.timeout is None else self.args.timeout
        return timeout_s

    def warn_of_silent(self) -> None:
        """Say which workers the latest answer goes without."""
        if silent := self.client.silent:
            complain(f"rtmsctl: without worker {', '.join(silent)}, which does not answer: see `rtmsctl status`")

    @cached_property
    def client(self) -> "AdminClient":
        """The daemon. Imported only for verbs that talk to it: `http.client` takes longer than all the rest."""
        from rtmsd.ctl.client import AdminClient  # noqa: PLC0415 - not at every start

        return AdminClient(self.args.socket, self.timeout_s)
