"""What operators see of a member, and have it do: the parts of the admin API that concern the cluster, connected."""

from collections.abc import Callable, Sequence
from functools import partial

import structlog
import trio

from rtmsd.cluster.parts.asked import gather_now
from rtmsd.cluster.parts.outstanding import Outstanding
from rtmsd.daemon.backend import Backend
from rtmsd.daemon.health import Trouble
from rtmsd.node.answering import Answering
from rtmsd.node.control import Control
from rtmsd.node.draining import Draining, KeepOrder
from rtmsd.node.membership import Membership, keep
from rtmsd.node.metrics import ClusterMetrics
from rtmsd.node.view import Engine, Spool, View

log = structlog.get_logger(__name__)


def operate(
    member: Membership,
    backend: Backend,
    nursery: trio.Nursery,
    *,
    engine: Callable[[], Engine | None],
    spool: Spool,
    keep_order: KeepOrder,
) -> None:
    """Have the admin socket show and control the cluster, and the others ask this member.

    Args:
        nursery: has the tasks that operators begin.
        engine: returns it as it is seen; None: it is not open.
        keep_order: see there.
    """

    def ordered(on: bool) -> None:
        member.heart.changed()
        if not on:
            draining.stop()

    health, settings, revocations = backend.health, member.settings, member.revocations

    def ungathered() -> list[str]:
        return member.gatherer.ungathered

    outstanding = Outstanding(
        ungathered=ungathered,
        revoked=lambda: revocations.recent,
        unconfirmed=revocations.unconfirmed,
    )
    view = View(
        heart=member.heart,
        describe=member.describe,
        engine=engine,
        beat_s=settings.beat_s,
        outstanding=outstanding,
        spool=spool,
    )
    draining = Draining(
        member.handover,
        take_none=health.drain,
        for_s=settings.hand_over_s,
        nursery=nursery,
        keep_order=keep_order,
    )
    health.ordered = ordered
    here = Answering(
        backend,
        health,
        ownership=member.ownership,
        draining=draining,
        ungathered=ungathered,
        gather=partial(gather_now, member.gatherer, member.writers),
        garbage=member.garbage,
    )
    here.serve(member.engine)
    backend.cluster = Control(here, view, member.members, member.store, member.engine)
    health.others = partial(_troubles, view)
    backend.metrics_source.add(
        ClusterMetrics(
            view=view,
            ownership=member.ownership,
            health=health,
            lives=member.supervisor,
            takeover=member.takeover,
            forwarded=member.router.forwarded,
            handed_over=member.handover.results,
            appended=member.appender.results,
            times=member.times,
            garbage=member.garbage.counts,
            fenced=lambda: member.fenced,
        )
    )
    nursery.start_soon(keep, outstanding.run)


def _troubles(view: View) -> Sequence[Trouble]:
    """Return what is wrong. A bug in it is no reason to look at nothing else."""
    try:
        return tuple(view.troubles())
    except Exception:
        log.exception("troubles of the cluster not known")
        return ()
