"""The story of the demo of a cluster: members die, freeze and are drained, and NATS servers are lost."""

import signal
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import attrs
import httpx
import trio

from rtmsd.demo.cluster.members import NODES, POLL_S, ClusterCast, Member, copies_of, is_receipt, whole_of
from rtmsd.demo.incidents.incidents import Limits
from rtmsd.demo.incidents.story import COPIES, Performance, StreamsStory, count_streams
from rtmsd.demo.scene import Kind, Scene
from rtmsd.demo.story import RECOVERY_S, Played, Stuck, until
from rtmsd.protocol.causes import GapCause
from rtmsd.protocol.enums import StopReason
from rtmsd.simulator import Record

STREAMS: Final = 9
FROZEN_S: Final = 10.0
AWAY_S: Final = 5.0
LOG: Final = "DEMO_00"  # the log of one partition

# What an incident may cost, in seconds.
KILLED_S: Final = 1.0  # until media flow: Zoom says at once that it lost its connections
CLAIMED_S: Final = 4.5
RELEASED_S: Final = 2.0
DRAINED_S: Final = 3.0
DEAF_S: Final = 0.5
ELECTED_S: Final = 8.0


@attrs.define(kw_only=True)
class ClusterPerformance(Performance):
    """See `Performance`.

    Attributes:
        revoked: the stream that was; it is none of `streams` any more.
        led_s: until a new stream was recorded when the leader of its log was lost.
    """

    revoked: Played | None = None
    led_s: float | None = None


class Story(StreamsStory):
    """Plays all acts once."""

    noun = "member"

    def __init__(self, cast: ClusterCast, scene: Scene, performance: ClusterPerformance) -> None:
        super().__init__(cast.simulator, scene, performance, GapCause.NODE_TAKEOVER)
        self._cast = cast
        self._performance = performance
        self._dead = ""

    def _acts(self) -> Sequence[Callable[[], Awaitable[None]]]:
        return (
            self._start,
            self._copies,
            self._kill,
            self._revoke,
            self._return,
            self._freeze,
            self._drain,
            self._lose_leader,
            self._lose_servers,
        )

    async def _owners(self, streams: Collection[str]) -> dict[str, str]:
        return await self._cast.owners(streams)

    # The acts

    async def _start(self) -> None:
        await self._until_all(_are_up, "/v1/cluster")
        self._act(f"{STREAMS} sessions start at once; Zoom's webhooks come to any of {len(NODES)} members.")
        await self._begin_all(STREAMS)

    async def _copies(self) -> None:
        self._act("Webhooks arrive again.")
        await self._announce(f"Zoom sends each session.rtms_started {COPIES} times more, to one member after another.")
        incident = self._begin_incident("duplicate webhooks")
        owners = await self._owners(self._ids())
        for rtms_stream_id, deliveries in (await self._send_copies()).items():
            for delivery in deliveries:
                self._performance.copies[self._cast.receiver(delivery.url), owners[rtms_stream_id]] += 1
        elsewhere = self._performance.copies_elsewhere
        self._settled(incident, f"{elsewhere} of {self._performance.copies.total()} came to another member")

    async def _kill(self) -> None:
        self._act("A member dies.")
        node, hit = await self._busiest()
        await self._announce(f"kill -9 for member {node}, the busiest, with {count_streams(len(hit))}.")
        limits = Limits(claimed_s=CLAIMED_S, media_s=KILLED_S, audio_s=self._performance.sync_interval_s)
        incident = self._begin_incident(f"kill -9 of {node}", hit, limits)
        incident.dead_ms = incident.from_ms
        await self._cast.members[node].process.kill()
        self._dead = node
        await self._recovered(incident)

    async def _revoke(self) -> None:
        self._act("A stream is revoked: all that was recorded of it must be deleted.")
        had = self._cast.members[self._dead].stage
        played = next(each for each in self._performance.streams if copies_of([had], each.session.rtms_stream_id))
        revoked = played.session.rtms_stream_id
        await self._announce(f"Zoom revokes a stream of which member {self._dead}, which is down, has a part.")
        incident = self._begin_incident("stream revoked")
        self._performance.streams.remove(played)
        self._performance.revoked = played
        for earlier in self._performance.incidents:  # nobody can say what they cost it
            earlier.hit -= {revoked}
        await played.session.stop(StopReason.STREAM_REVOKED)
        others = [stage for stage in self._cast.stages if stage is not had]
        if not await until(lambda: all(map(is_receipt, copies_of(others, revoked)))):
            raise Stuck
        self._settled(
            incident, f"{len(copies_of(others, revoked))} of the members that are up had a part, and deleted it"
        )

    async def _return(self) -> None:
        self._act("The member that died is started again.")
        member = self._cast.members[self._dead]
        await self._announce(f"Member {self._dead} is started: its streams are others' by now, and one was revoked.")
        incident = self._begin_incident(f"{self._dead} starts again")
        await member.process.start()
        assert self._performance.revoked is not None
        revoked = self._performance.revoked.session.rtms_stream_id
        if not await until(lambda: all(map(is_receipt, copies_of([member.stage], revoked)))):
            raise Stuck
        await self._until_all(_are_up, "/v1/cluster")
        self._settled(incident, "it left the others their streams, and deleted its part of the revoked one")

    async def _freeze(self) -> None:
        self._act("A member freezes, and wakes.")
        node, hit = await self._busiest()
        await self._announce(
            f"Member {node}, with {count_streams(len(hit))}, is stopped (SIGSTOP) for {FROZEN_S:g} s: it keeps its "
            "connections, so Zoom refuses those who take over until it lets go."
        )
        incident = self._begin_incident(
            f"{node} freezes {FROZEN_S:g} s", hit, Limits(claimed_s=CLAIMED_S, media_s=RELEASED_S)
        )
        process = self._cast.members[node].process
        process.send_signal(signal.SIGSTOP)
        await trio.sleep(FROZEN_S)
        process.send_signal(signal.SIGCONT)
        incident.dead_ms, incident.death = self._now_ms, "release"
        self._scene.log(Kind.NOTE, f"Member {node} is awake.")
        await self._recovered(incident)
        incident.released_ms = {each: _released_ms(self._record(each), incident.from_ms) for each in hit}

    async def _drain(self) -> None:
        self._act("A member is drained, as for an upgrade.")
        node, hit = await self._busiest()
        await self._announce(f"Member {node} is told to hand over its {count_streams(len(hit))}.")
        incident = self._begin_incident(
            f"{node} is drained", hit, Limits(claimed_s=DRAINED_S, media_s=DRAINED_S, transcripts_s=DEAF_S)
        )
        incident.dead_ms, incident.death = incident.from_ms, "order"
        another = next(member for member in self._cast.members.values() if member.node != node)
        await self._order(another, f"/v1/cluster/nodes/{node}/drain")
        await self._recovered(incident)
        await self._order(another, f"/v1/cluster/nodes/{node}/undrain")

    async def _lose_leader(self) -> None:
        self._act("The NATS server that leads the log dies.")
        leader = await trio.to_thread.run_sync(self._cast.servers.leader, LOG)
        await self._announce(f"kill -9 for NATS server {leader.name}, while another session starts.")
        incident = self._begin_incident("log leader killed")
        await trio.to_thread.run_sync(leader.kill)
        await self._another()
        self._performance.led_s = (self._now_ms - incident.from_ms) / 1000
        leader.start()
        await trio.to_thread.run_sync(self._cast.servers.wait)
        await self._until_well()
        self._settled(incident, f"the new session is recorded after {self._performance.led_s:.1f} s")

    async def _lose_servers(self) -> None:
        self._act("All NATS servers are away.")
        await self._announce(f"All are killed, and started again {AWAY_S:g} s later.")
        incident = self._begin_incident(f"servers away {AWAY_S:g} s")
        await trio.to_thread.run_sync(self._cast.servers.kill)
        await trio.sleep(AWAY_S)
        self._cast.servers.start()
        await trio.to_thread.run_sync(self._cast.servers.wait)
        back_ms = self._now_ms
        await self._until_well()
        self._settled(incident, f"no trouble {(self._now_ms - back_ms) / 1000:.1f} s after they are back")

    async def _end(self) -> None:
        self._act("The sessions end.")
        await self._stop_sessions()
        with suppress(Stuck):
            await self._until_all(lambda status: not status.get("streams"))
        self._scene.log(Kind.NOTE, "The last owner of each stream joins the parts that others have of it.")
        await until(lambda: all(whole_of(self._cast.stages, each) for each in self._ids()))
        for member in self._cast.members.values():
            self._performance.statuses.append(await member.process.stop())

    # Parts of acts

    async def _until_all(self, condition: Callable[[Mapping[str, Any]], bool], path: str = "/v1/status") -> None:
        """Wait until a condition holds for the answer of each member; one that does not answer says nothing.

        Raises:
            Stuck: it does not come to hold.
        """
        with trio.move_on_after(RECOVERY_S):
            for member in self._cast.members.values():
                while not condition(await _ask(member, path)):  # noqa: ASYNC110 another process
                    await trio.sleep(POLL_S)
            return
        raise Stuck

    async def _until_well(self) -> None:
        """Wait until all members reach the engine, and each stream is claimed and connected.

        Raises:
            Stuck: it does not come to that.
        """
        await self._until_all(_is_well)
        await self._until_all(_are_claimed, "/v1/cluster/streams")
        await self._owners(self._ids())

    async def _order(self, member: Member, path: str) -> None:
        """Have something done.

        Raises:
            Stuck: it was refused.
        """
        try:
            await member.admin.post(path)
        except httpx.HTTPError as error:
            self._scene.log(Kind.BAD, f"{path}: {error}")
            raise Stuck from error


async def _ask(member: Member, path: str) -> Mapping[str, Any]:
    try:
        answer: dict[str, Any] = await member.admin.get(path)
    except httpx.HTTPError:
        return {}
    return answer


def _is_well(status: Mapping[str, Any]) -> bool:
    """Whether a member works, and reaches the engine."""
    return status.get("ready") is True and "engine_away" not in {trouble["code"] for trouble in status["degraded"]}


def _are_claimed(listed: Mapping[str, Any]) -> bool:
    """Whether nothing is to be said of any stream, such as that it is not claimed yet."""
    return "streams" in listed and not any(stream["flags"] for stream in listed["streams"])


def _are_up(cluster: Mapping[str, Any]) -> bool:
    """Whether a member hears that all are."""
    return [member["state"] for member in cluster.get("members", ())] == ["up"] * len(NODES)


def _released_ms(record: Record, since_ms: int) -> int:
    """Return when the signaling connection ended that was live at a time."""
    ends = (span.closed_ms for span in record.connections if span.kind == "signaling" and span.opened_ms < since_ms)
    return next(closed_ms for closed_ms in ends if closed_ms is not None and closed_ms >= since_ms)
