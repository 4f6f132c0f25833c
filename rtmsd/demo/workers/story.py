"""The story of the demo of several workers: more streams than workers, while workers die, hang, and start again."""

import signal
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final

import attrs
import trio

from rtmsd.demo.incidents.incidents import Incident, Limits
from rtmsd.demo.incidents.story import COPIES, Performance, StreamsStory, count_streams
from rtmsd.demo.performance import Cast
from rtmsd.demo.scene import Kind, Scene
from rtmsd.demo.story import Stuck
from rtmsd.demo.workers.processes import POLL_S, Workers
from rtmsd.protocol.causes import GapCause

RELOAD: Final = "reload"
WATCHDOG_S: Final = 3.0  # the service manager's, by which a worker that hangs is killed
BEAT_S: Final = WATCHDOG_S / 8  # the parent asks so often
MEDIA_S: Final = 1.0


@attrs.define(kw_only=True)
class WorkersPerformance(Performance):
    """See `Performance`.

    Attributes:
        restarted: the worker that died. newcomer: the one that got the stream which began after that.
        reloaded: workers that use the changed configuration.
    """

    workers: int
    newcomer: str = ""
    restarted: str = ""
    reloaded: set[str] = attrs.field(factory=set)


class Story(StreamsStory):
    """Plays all acts once.

    Args:
        reconfigure: writes another configuration, by which audio of new streams comes in other packets.
        performance: see `StreamsStory`.
    """

    noun = "worker"

    def __init__(
        self,
        cast: Cast,
        workers: Workers,
        reconfigure: Callable[[], None],
        scene: Scene,
        performance: WorkersPerformance,
    ) -> None:
        super().__init__(cast.simulator, scene, performance, GapCause.DAEMON_RESTART)
        self._daemon = cast.daemon
        self._workers = workers
        self._reconfigure = reconfigure
        self._performance = performance

    def _acts(self) -> Sequence[Callable[[], Awaitable[None]]]:
        return self._start, self._copies, self._reload, self._kill, self._newcomer, self._hang, self._restart

    async def _owners(self, streams: Collection[str]) -> dict[str, str]:
        return await self._workers.owners(streams)

    async def _start(self) -> None:
        count = 3 * self._performance.workers
        self._act(
            f"{count} sessions start at once; Zoom's webhooks come to any of {self._performance.workers} workers."
        )
        await self._begin_all(count)

    async def _copies(self) -> None:
        self._act("Webhooks arrive again.")
        await self._announce(f"Zoom sends each session.rtms_started {COPIES} times more, whoever owns the stream.")
        incident = self._begin_incident("duplicate webhooks")
        owners = await self._owners(self._ids())
        await self._send_copies()  # each on a connection of its own, which any worker may accept
        count = COPIES * len(owners)
        for line in await self._workers.logged("webhook event", incident.from_ms, count=count, verdict="duplicate"):
            self._performance.copies[line.fields["worker"], owners[line.fields["rtms_stream_id"]]] += 1
        elsewhere = self._performance.copies_elsewhere
        self._settled(incident, f"{elsewhere} of {self._performance.copies.total()} came to another worker")

    async def _reload(self) -> None:
        self._act("The configuration changes.")
        await self._announce("A key is changed, and the daemon told to read its configuration again (SIGHUP).")
        incident = self._begin_incident(RELOAD)
        self._reconfigure()
        self._daemon.reload()
        said = await self._workers.logged(
            "configuration reloaded", incident.from_ms, count=self._performance.workers + 1
        )
        self._performance.reloaded = {line.fields["worker"] for line in said if "worker" in line.fields}
        await self._another()
        self._settled(incident, f"{len(self._performance.reloaded)} workers use it, for a new session")

    async def _kill(self) -> None:
        self._act("A worker dies.")
        worker, hit = await self._busiest()
        await self._announce(f"kill -9 for worker {worker}, the busiest, with {count_streams(len(hit))}.")
        incident = self._begin_incident(
            f"kill -9 of worker {worker}", hit, Limits(media_s=MEDIA_S, audio_s=self._performance.sync_interval_s)
        )
        incident.dead_ms = incident.from_ms
        self._workers.signal(worker, signal.SIGKILL)
        self._performance.restarted = worker
        await self._recovered(incident)

    async def _newcomer(self) -> None:
        self._act("Another session starts: the worker that was started again has none yet.")
        session = await self._another()
        self._performance.newcomer = (await self._owners(self._ids()))[session.rtms_stream_id]
        self._scene.log(Kind.GOOD, f"Worker {self._performance.newcomer} has it.")

    async def _hang(self) -> None:
        self._act("A worker hangs.")
        worker, hit = await self._busiest()
        await self._announce(
            f"Worker {worker}, with {count_streams(len(hit))}, is stopped (SIGSTOP): it keeps its connections, but "
            f"reads nothing. The parent kills it when it has not answered for {WATCHDOG_S:g} s."
        )
        limits = Limits(dead_s=WATCHDOG_S + 3 * BEAT_S, media_s=MEDIA_S, audio_s=self._performance.sync_interval_s)
        incident = self._begin_incident(f"worker {worker} hangs", hit, limits)
        self._workers.signal(worker, signal.SIGSTOP)
        killed = await self._workers.logged("worker killed", incident.from_ms, worker=worker)
        if not killed:
            raise Stuck
        incident.dead_ms = killed[0].at_ms
        await self._recovered(incident)

    async def _restart(self) -> None:
        self._act("The daemon stops and starts, as in an upgrade.")
        hit = self._ids()
        await self._announce("The daemon is stopped (SIGTERM), with all streams, and started again.")
        incident = self._begin_incident("stop and start", hit, Limits(audio_s=self._performance.sync_interval_s))
        self._performance.statuses.append(await self._daemon.stop())
        incident.dead_ms = self._now_ms
        self._scene.log(Kind.NOTE, f"The daemon has ended after {(self._now_ms - incident.from_ms) / 1000:.1f} s.")
        await self._daemon.start()
        await self._recovered(incident)

    async def _recovered(self, incident: Incident) -> None:
        await super()._recovered(incident)
        if not await self._workers.wait_ready():
            raise Stuck

    async def _end(self) -> None:
        self._act("The sessions end.")
        await self._stop_sessions()
        with trio.move_on_after(10):
            while await self._workers.owners():  # noqa: ASYNC110 another process
                await trio.sleep(POLL_S)
        self._performance.statuses.append(await self._daemon.stop())
