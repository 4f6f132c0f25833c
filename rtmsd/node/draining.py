"""The drain of this member by an operator: it takes no more streams, and hands over those that it has."""

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Protocol

import structlog
import trio

from rtmsd.node.questions import WHYS, DrainReport

log = structlog.get_logger(__name__)


class Passage(Protocol):
    """What became of a stream.

    Attributes:
        node: the member that has it now; None: it ended, or stayed.
        why: the reason for which it stayed.
    """

    @property
    def node(self) -> str | None: ...
    @property
    def why(self) -> str | None: ...


class DrainResult(Protocol):
    @property
    def passages(self) -> Mapping[str, Passage]:
        """By `rtms_stream_id`."""


class Handover(Protocol):
    """Hands over streams to other members: `rtmsd.cluster.handover`."""

    async def drain(self, for_s: float) -> DrainResult:
        """Hand over all; what is not handed over after `for_s` stays."""

    async def move(self, rtms_stream_id: str, node: str | None = None) -> str:
        """Hand over one, and return to whom. Raises RtmsdError, with the reason."""


class Draining:
    """The order to drain, until it is taken back.

    Args:
        take_none: has new streams refused (True), and the beats say so; or taken again.
        for_s: what is not handed over by then stays.
        nursery: has the task that hands over.

    Attributes:
        report: of the latest drain; None: there was none since streams were last taken.
    """

    def __init__(
        self, handover: Handover, *, take_none: Callable[[bool], None], for_s: float, nursery: trio.Nursery
    ) -> None:
        self.report: DrainReport | None = None
        self._handover, self._take_none, self._for_s = handover, take_none, for_s
        self._nursery = nursery
        self._scope = trio.CancelScope()

    def drain(self) -> None:
        """Begin; again, for what stayed. One that is under way goes on."""
        self._take_none(True)
        if self.report is None or not self.report.running:
            self._scope = trio.CancelScope()
            self.report = DrainReport(running=True)
            self._nursery.start_soon(self._run, self._scope)

    def undrain(self) -> None:
        """Take streams again. What is being handed over just now may still go."""
        self._scope.cancel()
        self.report = None
        self._take_none(False)

    async def move(self, rtms_stream_id: str, node: str | None) -> str:
        """See `Handover`."""
        return await self._handover.move(rtms_stream_id, node)

    async def _run(self, scope: trio.CancelScope) -> None:
        report = DrainReport(running=False, trouble="a bug in rtmsd: its log has the traceback")
        with scope:
            try:
                report = _report(await self._handover.drain(self._for_s))
                log.info("drained", moved=report.moved, stayed=report.stayed)
            except Exception:
                log.exception("drain crashed")
        if not scope.cancelled_caught:
            self.report = report


def _report(result: DrainResult) -> DrainReport:
    whys = {key: each.why for key, each in result.passages.items() if each.why is not None}
    return DrainReport(
        running=False,
        moved=sum(each.node is not None for each in result.passages.values()),
        stayed=len(whys),
        why=dict(islice(whys.items(), WHYS)),
    )
