"""The drain of this member by an operator: it takes no more streams, and hands over those that it has."""

from collections.abc import Callable
from itertools import islice
from typing import TypeAlias

import structlog
import trio

from rtmsd.cluster.handover.handover import Handover
from rtmsd.cluster.handover.passages import DrainResult, Fate
from rtmsd.node.questions import WHYS, DrainReport

log = structlog.get_logger(__name__)

KeepOrder: TypeAlias = Callable[[bool, str | None], None]
"""Keeps the order to drain (True), or that it was taken back, for later lives of the node: this member, or all of its
machine."""


def keep_nothing(_on: bool, _node: str | None) -> None:
    """Keep no order: this process has one life."""


class Draining:
    """The order to drain, until it is taken back.

    Args:
        take_none: has new streams refused (True), and the beats say so; or taken again.
        for_s: what is not handed over by then stays.
        nursery: has the task that hands over.
        keep_order: see `KeepOrder`.

    Attributes:
        report: of the latest drain; None: there was none since streams were last taken.
    """

    def __init__(
        self,
        handover: Handover,
        *,
        take_none: Callable[[bool], None],
        for_s: float,
        nursery: trio.Nursery,
        keep_order: KeepOrder = keep_nothing,
    ) -> None:
        self.report: DrainReport | None = None
        self._handover, self._take_none, self._for_s = handover, take_none, for_s
        self._nursery, self._keep_order = nursery, keep_order
        self._scope = trio.CancelScope()

    def drain(self, node: str | None = None) -> None:
        """Begin; again, for what stayed. One that is under way goes on.

        Args:
            node: this member, or its machine: see `Handover`.
        """
        self._take_none(True)
        self._keep_order(True, node)
        if self.report is None or not self.report.running:
            self._scope = trio.CancelScope()
            self.report = DrainReport(running=True)
            self._nursery.start_soon(self._run, self._scope, node)

    def undrain(self, node: str | None = None) -> None:
        """Take streams again. What is being handed over just now may still go.

        Args:
            node: this member, or its machine.
        """
        self.stop()
        self._take_none(False)
        self._keep_order(False, node)

    def stop(self) -> None:
        """Hand over nothing more, as streams are taken again."""
        self._scope.cancel()
        self.report = None

    async def move(self, rtms_stream_id: str, node: str | None) -> str:
        """See `Handover`."""
        return await self._handover.move(rtms_stream_id, node)

    async def _run(self, scope: trio.CancelScope, node: str | None) -> None:
        report = DrainReport(running=False, trouble="a bug in rtmsd: its log has the traceback")
        with scope:
            try:
                report = _report(await self._handover.drain(self._for_s, node))
                log.info("drained", moved=report.moved, stayed=report.stayed)
            except Exception:
                log.exception("drain crashed")
        if not scope.cancelled_caught:
            self.report = report


def _report(result: DrainResult) -> DrainReport:
    stayed = result.stayed
    return DrainReport(
        running=False,
        moved=sum(each.fate is Fate.HANDED_OVER for each in result.passages.values()),
        stayed=len(stayed),
        why=dict(islice(stayed.items(), WHYS)),
    )
