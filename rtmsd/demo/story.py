"""The story of the demo: a conversation with faults, each announced before it happens.

Times are Zoom's seconds. Between the faults people talk, so that every fault can lose something.
"""

import inspect
from collections.abc import Awaitable, Callable
from typing import Final

import attrs
import trio

from rtmsd.demo.daemon import DaemonProcess
from rtmsd.demo.scene import Kind, Scene
from rtmsd.protocol.causes import GapCause
from rtmsd.protocol.enums import MediaType, StatusCode, StopReason
from rtmsd.simulator import Person, SimSession, Simulator
from rtmsd.simulator.model.clock import ZoomClock

ANNOUNCED_S: Final = 6.0  # between the announcement of a fault and the fault
RECOVERY_S: Final = 40.0  # local: a recovery that takes longer has failed
POLL_S: Final = 0.02
REPEATED_S: Final = 2.0  # of audio that Zoom sends twice
PEOPLE: Final = (Person(user_name="Ana"), Person(user_name="Bo", talking=False))
LATECOMER: Final = Person(user_name="Cleo", talking=False)


@attrs.define
class Fault:
    """Something that was broken on purpose.

    Attributes:
        cause: the `cause` of gaps that may come of it; None: it must leave none.
        from_ms, recovered_ms: Zoom's time; None: it never recovered.
        outcome: in words, for the report.
    """

    name: str
    cause: GapCause | None
    from_ms: int
    recovered_ms: int | None = None
    outcome: str = ""


@attrs.define
class Played:
    """The results of a story, for the report.

    Attributes:
        late_ms: how far, in Zoom's time, the daemon may lag behind on a busy machine.
    """

    session: SimSession
    late_ms: int = 0
    connected_ms: int = 0
    faults: list[Fault] = attrs.field(factory=list)
    pauses: list[tuple[int, int]] = attrs.field(factory=list)
    malformed: int = 0
    duplicate_status: int | None = None
    forged_status: int | None = None
    daemon_status: int | None = None
    ended_ms: int = 0


class Stuck(Exception):
    """A connection was not restored: the story ends here, the report says FAILED."""


async def until(condition: Callable[[], bool]) -> bool:
    """Wait until a condition holds, and return whether it came to hold in time."""
    with trio.move_on_after(RECOVERY_S):
        while not condition():  # noqa: ASYNC110 - state of another object, which has no event
            await trio.sleep(POLL_S)
        return True
    return False


class Teller:
    """Tells the watchers of a scene what happens.

    Args:
        announced_s: between the announcement of a fault and the fault.
    """

    def __init__(self, clock: ZoomClock, scene: Scene, announced_s: float) -> None:
        self._clock = clock
        self._scene = scene
        self._announced_s = announced_s

    def _act(self, text: str) -> None:
        self._scene.log(Kind.ACT, text)

    async def _announce(self, text: str) -> None:
        self._scene.log(Kind.FAULT, text)
        await self._clock.sleep(self._announced_s)


class Story(Teller):
    """Plays all acts once.

    Args:
        played: filled in act by act, so that an early end can be reported, too.
    """

    def __init__(self, simulator: Simulator, daemon: DaemonProcess, scene: Scene, played: Played) -> None:
        super().__init__(simulator.clock, scene, ANNOUNCED_S)
        self._daemon = daemon
        self._played = played
        self._session = played.session

    async def play(self) -> None:
        """Play all acts in turn, then end the session, also after a failure."""
        acts = (
            self._conversation,
            self._false_webhooks,
            self._media_cut,
            self._signaling_cut,
            self._signaling_cut_in_silence,
            self._failover,
            self._malformed_frames,
            self._pause,
            self._daemon_killed,
        )
        self._scene.acts = len(acts) + 1  # and the end
        try:
            await self._all_connected()
            self._played.connected_ms = self._session.now_ms
            for act in acts:
                await act()
        except Stuck:
            self._scene.log(Kind.BAD, "No recovery in time: the story ends here.")
        await self._end()

    # The acts

    async def _conversation(self) -> None:
        await self._talk(10, "Ana")
        await self._talk(5, "Ana", "Bo")
        await self._talk(4, "Bo")
        self._session.join(LATECOMER)
        self._scene.log(Kind.NOTE, "Cleo joins late.")
        await self._talk(10, "Cleo")

    async def _false_webhooks(self) -> None:
        self._act("Webhooks that must change nothing.")
        await self._announce("Zoom delivers session.rtms_started a second time, as it does when an answer was late.")
        fault = self._broken("duplicate webhook", None)
        self._played.duplicate_status = await self._session.duplicate_webhook()
        self._settled(fault, f"answered {self._played.duplicate_status}, no second connection")
        await self._announce("A forged session.rtms_stopped is posted, signed with a wrong secret.")
        fault = self._broken("forged webhook", None)
        self._played.forged_status = await self._session.forged_webhook()
        self._settled(fault, f"answered {self._played.forged_status}, the stream goes on")
        await self._talk(10, "Ana")

    async def _media_cut(self) -> None:
        self._act("The audio connection breaks.")
        await self._announce(
            "The audio connection will be cut. Zoom keeps the audio and sends it after the reconnection; to make it "
            f"harder, it repeats {REPEATED_S:g} s that were sent before."
        )
        self._session.repeat_audio(int(REPEATED_S * 1000))
        await self._break("audio connection cut", GapCause.MEDIA_RECONNECT, self._session.cut_media)
        await self._talk(10, "Ana", "Cleo")
        self._session.repeat_audio(0)

    async def _signaling_cut(self) -> None:
        self._act("The signaling connection breaks, and Zoom says so.")
        await self._announce("Signaling will be cut, and with it all media; session.rtms_interrupted reports it.")
        await self._break("signaling cut", GapCause.SIGNALING_RECONNECT, self._session.cut_signaling)
        await self._talk(10, "Bo")

    async def _signaling_cut_in_silence(self) -> None:
        self._act("The signaling connection breaks, and Zoom sends no webhook.")
        await self._announce(
            "Signaling will be cut without a webhook, and Zoom will refuse two handshakes (status 8: it still holds "
            "the old connection)."
        )
        self._session.refuse_next(StatusCode.DUPLICATE_SIGNAL_REQUEST, 2)
        await self._break(
            "signaling cut, no webhook, refused twice",
            GapCause.SIGNALING_RECONNECT,
            lambda: self._session.cut_signaling(webhook=False),
        )
        await self._talk(10, "Cleo")

    async def _failover(self) -> None:
        self._act("Zoom's server fails.")
        await self._announce("The RTMS server will fail; a new session.rtms_started names another one.")
        await self._break("server failover", GapCause.SERVER_FAILOVER, self._session.failover)
        await self._talk(10, "Ana", "Bo", "Cleo")

    async def _malformed_frames(self) -> None:
        self._act("Malformed messages arrive.")
        await self._announce(
            "Broken messages on the audio connection: cut JSON, bad base64, wrong types, bad UTF-8 ..."
        )
        fault = self._broken("malformed messages", GapCause.CORRUPT)
        self._played.malformed = self._session.malformed_frames()
        await self._talk(2, "Bo")
        self._settled(fault, f"{self._played.malformed} sent, the connection stays")
        await self._talk(6, "Bo")

    async def _pause(self) -> None:
        self._act("The host pauses the stream: nothing is sent, and nothing is missing.")
        self._session.pause()
        from_ms = self._announced_ms()
        await self._clock.sleep(10)
        self._session.resume()
        self._played.pauses.append((from_ms, self._announced_ms()))
        self._scene.log(Kind.NOTE, "The host resumes.")
        await self._talk(10, "Ana", "Bo")

    def _announced_ms(self) -> int:
        """Return the time in Zoom's last message on signaling."""
        announced_ms: int = self._session.record.sent[-1].fields["timestamp"]
        return announced_ms

    async def _daemon_killed(self) -> None:
        self._act("The daemon dies.")
        await self._announce("kill -9 for the daemon while people talk; then it is started again, as systemd would.")
        await self._break("daemon killed with kill -9", GapCause.DAEMON_RESTART, self._kill_and_start)
        await self._talk(10, "Ana", "Cleo")

    async def _kill_and_start(self) -> None:
        pid = self._daemon.pid
        await self._daemon.kill()
        self._scene.log(Kind.NOTE, f"The daemon (process {pid}) is dead.")
        await until(lambda: not self._session.connections())  # until Zoom has noticed
        await self._daemon.start()
        self._scene.log(Kind.NOTE, f"A new daemon (process {self._daemon.pid}) is up and resumes its streams.")

    async def _end(self) -> None:
        self._act("The session ends.")
        self._session.leave("Bo")
        await self._talk(2)
        await until(lambda: not self._session.feed.is_behind(self._session.now_ms))  # as after an outage
        await self._session.stop(StopReason.MEETING_ENDED)
        self._played.ended_ms = self._session.now_ms
        await until(lambda: self._scene.stream.get("ended_ms") is not None)
        self._played.daemon_status = await self._daemon.stop()

    # Parts of acts

    async def _talk(self, duration_s: float, *names: str) -> None:
        """Let these people talk, and nobody else."""
        for person in list(self._session.crowd.present.values()):
            name = person.person.user_name
            (self._session.talk if name in names else self._session.hush)(name)
        await self._clock.sleep(duration_s)

    async def _all_connected(self) -> None:
        """Wait until all media flow. Raises Stuck when they do not."""
        with trio.move_on_after(RECOVERY_S) as recovery:
            for media in (MediaType.AUDIO, MediaType.TRANSCRIPT):
                await self._session.wait_reconnected(media)
        if recovery.cancelled_caught:
            raise Stuck

    def _broken(self, name: str, cause: GapCause | None) -> Fault:
        fault = Fault(name, cause, self._session.now_ms)
        self._played.faults.append(fault)
        return fault

    def _settled(self, fault: Fault, outcome: str) -> None:
        fault.recovered_ms = self._session.now_ms
        fault.outcome = outcome
        self._scene.log(Kind.GOOD, f"{fault.name}: {outcome}.")

    async def _break(self, name: str, cause: GapCause, inject: Callable[[], Awaitable[object] | object]) -> None:
        """Break something that takes connections down, and wait until all of them are back.

        Raises:
            Stuck: they are not.
        """
        fault = self._broken(name, cause)
        result = inject()
        if inspect.isawaitable(result):
            await result
        await self._all_connected()
        zoom_s = (self._session.now_ms - fault.from_ms) / 1000
        self._settled(fault, f"back after {zoom_s:.1f} s")
