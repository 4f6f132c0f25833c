"""The faults, and their bounds."""

import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import attrs
import trio

from rtmsd.cluster.engines.nats.layout import Layout
from rtmsd.simulator import SimSession
from tests.benchmarks.cluster.samples import WRONG, Bound
from tests.benchmarks.cluster.trial import Trial
from tests.faults.cluster import NODES, PARTITIONS

FROZEN_S: Final = 10.0
QUIET_S: Final = 2.0  # after which a member that woke up must not have come back
AWAY_S: Final = 5.0
MANY: Final = 30
BESIDE: Final = 3  # streams that a fault is not to touch
COPIES: Final = 4  # of each webhook

_LAYOUT: Final = Layout("test", PARTITIONS)


@attrs.frozen(kw_only=True)
class Fault:
    """A fault.

    Attributes:
        play: begins sessions, does it, and returns when all is well again.
        bounds: of its figures.
        is_slow: a run takes over 10 s.
    """

    play: Callable[[Trial], Awaitable[None]]
    bounds: Mapping[str, Bound]
    is_slow: bool = False


# Members


async def kill(trial: Trial) -> None:
    await trial.begin()
    node = trial.strike()
    trial.stage.members[node].kill()
    await trial.back()
    await trial.stage.members[node].reap()
    await _again(trial, node)


async def kill_without_webhook(trial: Trial) -> None:
    """Nobody hears Zoom's webhook before the streams are taken over."""
    await trial.begin()
    gates = [member.gate for member in trial.stage.members.values()]
    ports = [gate.port for gate in gates]
    for gate in gates:
        gate.port = None
    try:
        node = trial.strike()
        trial.stage.members[node].kill()
        await trial.back()
    finally:
        for gate, port in zip(gates, ports, strict=True):
            gate.port = port
    trial.stage.members[node].gate.port = None
    await trial.stage.members[node].reap()
    await _again(trial, node)


async def freeze(trial: Trial) -> None:
    """The simulated Zoom gives no connection up that is frozen for so short: it ends when the member wakes up."""
    await trial.begin()
    node = trial.strike()
    await trial.stage.freeze(node, FROZEN_S)
    await trial.back()
    await trio.sleep(QUIET_S)
    pid = trial.stage.members[node].pid
    for session in trial.hit:
        trial.since_ms[session.rtms_stream_id] = _released_ms(session, trial.at_ms)
        trial.figures["handshakes after waking up"].append(
            sum(
                handshake.kind == "signaling" and handshake.peer.pid == pid and handshake.at_ms >= trial.at_ms
                for handshake in session.record.handshakes
                if handshake.status_code == 0
            )
        )


async def drain(trial: Trial) -> None:
    await trial.begin()
    await _drain(trial, trial.strike())


async def drain_many(trial: Trial) -> None:
    """All streams begin at one member, as the others are drained meanwhile."""
    node, *others = NODES
    for other in others:
        await trial.stage.order(f"/v1/cluster/nodes/{other}/drain", by=other)
    await trial.begin(MANY)
    for other in others:
        await trial.stage.order(f"/v1/cluster/nodes/{other}/undrain", by=other)
    await trial.until_up()
    await _drain(trial, trial.strike(node))


async def _drain(trial: Trial, node: str) -> None:
    await trial.stage.order(f"/v1/cluster/nodes/{node}/drain", by=node)
    await trial.back()
    began_s = trio.current_time()
    await trial.stage.order(f"/v1/cluster/nodes/{node}/undrain", by=node)
    await trial.until_up()
    trial.took("all up after undrain", began_s)


async def upgrade(trial: Trial) -> None:
    await trial.begin()
    node = trial.strike(NODES[trial.number % len(NODES)])
    member, began_s = trial.stage.members[node], trio.current_time()
    if status := await member.stop():
        trial.wrong.append(f"member {node} ended with status {status}")
    trial.took("stopped", began_s)
    await trial.back()
    await _again(trial, node)


async def _again(trial: Trial, node: str) -> None:
    began_s = trio.current_time()
    await trial.stage.members[node].start()
    await trial.until_up()
    trial.took("all up after start", began_s)


def _released_ms(session: SimSession, since_ms: int) -> int:
    """Return when the signaling connection of that time ended; the time itself, if it has not."""
    spans = (span for span in session.record.connections if span.kind == "signaling" and span.opened_ms < since_ms)
    return next((span.closed_ms for span in spans if (span.closed_ms or 0) >= since_ms), None) or since_ms


# Servers


async def lose_leader(trial: Trial) -> None:
    """A new session is of the log that has no leader."""
    stage = trial.stage
    await trial.begin(BESIDE)
    log = _LAYOUT.all_partitions[trial.number % PARTITIONS]
    leader = await trio.to_thread.run_sync(stage.servers.leader, _LAYOUT.stream(log))
    trial.at_ms, began_s = trial.now_ms, trio.current_time()
    leader.kill()
    ids = iter(lambda: uuid.uuid4().hex, "")
    await trial.another(next(each for each in ids if _LAYOUT.partition(each) == log))
    trial.took("new session recorded", began_s)
    leader.start()
    await trio.to_thread.run_sync(stage.servers.wait)
    await stage.until_well()


async def lose_servers(trial: Trial) -> None:
    """A new session begins meanwhile; all is well when it is claimed, too."""
    stage = trial.stage
    await trial.begin(BESIDE)
    trial.at_ms, began_s = trial.now_ms, trio.current_time()
    await trio.to_thread.run_sync(stage.servers.kill)
    await trio.sleep(1)
    another_s = trio.current_time()
    await trial.another()
    trial.took("new session recorded", another_s)
    await trio.sleep_until(began_s + AWAY_S)
    stage.servers.start()
    await trio.to_thread.run_sync(stage.servers.wait)
    began_s = trio.current_time()
    await stage.until_well()
    await trial.until_claimed()
    trial.took("well again", began_s)


# Webhooks


async def repeat_webhooks(trial: Trial) -> None:
    """Zoom's first webhook of each stream comes again, to each member in turn.

    One at a time: of several at once each waits for the others, and most of all in this process, which signs, posts and
    passes on all of them.
    """
    await trial.begin(len(NODES) * 3)
    nodes = {member.gate.url: node for node, member in trial.stage.members.items()}
    for _ in range(COPIES):
        for session in trial.sessions:
            await session.duplicate_webhook()
    for session in trial.sessions:
        for delivery in session.record.webhooks[-COPIES:]:
            where = "here" if nodes[delivery.url] == trial.stage.owner(session) else "elsewhere"
            trial.figures[f"answered, owner {where}"].append(delivery.latency_s if delivery.status == 200 else None)


_NOTHING: Final = Bound(0)
_HANDED_OVER: Final = {
    "media up": Bound(3.0),
    "audio lost": _NOTHING,
    "without transcripts": Bound(0.5),
    WRONG: _NOTHING,
}
_SYNC_S: Final = 0.5  # the default of `recording.sync_interval_s`

FAULTS: Final[Mapping[str, Fault]] = {
    "kill": Fault(play=kill, bounds={"media up": Bound(1.0), "audio lost": Bound(_SYNC_S), WRONG: _NOTHING}),
    "kill-no-webhook": Fault(
        play=kill_without_webhook,
        bounds={"media up": Bound(4.5), "audio lost": Bound(_SYNC_S), WRONG: _NOTHING},
    ),
    "freeze": Fault(
        play=freeze,
        bounds={
            "claimed": Bound(4.5),
            "media up": Bound(2.0),  # after Zoom let go
            "audio lost": _NOTHING,
            "handshakes after waking up": _NOTHING,
            WRONG: _NOTHING,
        },
        is_slow=True,
    ),
    "drain": Fault(play=drain, bounds=_HANDED_OVER),
    "drain-30": Fault(play=drain_many, bounds=_HANDED_OVER, is_slow=True),
    "upgrade": Fault(play=upgrade, bounds=_HANDED_OVER),
    "leader": Fault(play=lose_leader, bounds={"new session recorded": Bound(8.0), WRONG: _NOTHING}),
    "servers": Fault(play=lose_servers, bounds={"well again": Bound(10.0), WRONG: _NOTHING}, is_slow=True),
    "webhooks": Fault(play=repeat_webhooks, bounds={"answered, owner elsewhere": Bound(0.1, 99), WRONG: _NOTHING}),
}
