"""A worker as its parent has it: started, watched, killed when it hangs, and started again when it died."""

import enum
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Final, Protocol

import structlog
import trio

from rtmsd.daemon.root import EXIT_BAD_CONFIG
from rtmsd.workers.channel import Channel
from rtmsd.workers.messages import Begin, Joined, Message, Peer, Ping, Pong, Ready, Stop, ToWorker
from rtmsd.workers.pulse import START_LIMIT_S, Backoff, Pulse

log = structlog.get_logger()

LAST_WORDS_S: Final = 1.0  # for what a dead worker has sent
_MANAGERS: Final = ("NOTIFY_SOCKET", "LISTEN_", "WATCHDOG_")
"""Beginnings of the names of variables that are the parent's alone."""


class Stage(enum.Enum):
    WAITING = "waiting"  # for its start, or the next one
    STARTING = "starting"
    JOINED = "joined"  # the others reach it
    READY = "ready"
    STOPPING = "stopping"
    ENDED = "ended"


_RUNNING: Final = frozenset({Stage.STARTING, Stage.JOINED, Stage.READY, Stage.STOPPING})


class House(Protocol):
    """The part of the parent that a worker deals with."""

    def begin(self, worker: "WorkerProcess") -> tuple[Begin, Sequence[int]]:
        """Return what a worker is given, and the descriptors that it inherits."""

    def changed(self) -> None:
        """A worker is ready, or its figures are others."""

    def received(self, worker: "WorkerProcess", message: Message) -> None:
        """A worker sent something."""

    def died(self, worker: "WorkerProcess") -> None:
        """A worker is dead; its incarnation is not used again."""

    def gives_up(self, worker: "WorkerProcess") -> bool:
        """A worker refused the configuration. Whether all end by that, instead of its being started again."""


class WorkerProcess:
    """One of the workers, through all its lives.

    Attributes:
        node: its number, as text.
        incarnation: of its present life.
        pong: what it last said of itself in this life.
        listening: the addresses of its doors.
        is_clean: it ended by itself when it was to, without an error.
    """

    def __init__(self, node: str, house: House, limit_s: float, backoff: Backoff | None = None) -> None:
        self.node = node
        self.incarnation = ""
        self.pid: int | None = None
        self.stage = Stage.WAITING
        self.pong: Pong | None = None
        self.is_clean = True
        self._status: int | None = None  # of its last life
        self._house = house
        self._limit_s = limit_s
        self._backoff = backoff or Backoff()
        self._pulse = Pulse(START_LIMIT_S)
        self._channel: Channel | None = None
        self._process: trio.Process | None = None
        self._stopping = trio.Event()

    @property
    def is_running(self) -> bool:
        return self.stage in _RUNNING

    @property
    def is_steady(self) -> bool:
        """Whether nothing is wrong with it now: it answers, or is on its way."""
        return self.stage is not Stage.READY or self._pulse.is_steady

    @property
    def peer(self) -> Peer:
        """What the others know of it."""
        pong = self.pong
        return Peer(
            node=self.node,
            incarnation=self.incarnation,
            streams=0 if pong is None else pong.streams,
            is_draining=pong is not None and pong.is_draining,
            is_ready=self.stage in {Stage.JOINED, Stage.READY},
        )

    async def keep(self) -> None:
        """Have it live, until `stop`."""
        delay_s: float | None = None
        while not self._stopping.is_set():
            began_s = trio.current_time()
            why = await self._live()
            if self._stopping.is_set():
                break
            if self._status == EXIT_BAD_CONFIG and self._house.gives_up(self):
                break
            delay_s = self._backoff.next_s(delay_s, trio.current_time() - began_s)
            log.error("worker died; it is started again", worker=self.node, why=why, again_s=delay_s)
            self.is_clean = True  # a stop that comes now finds nothing that could end badly
            with trio.move_on_after(delay_s):
                await self._stopping.wait()
        self.stage = Stage.ENDED

    def post(self, message: ToWorker) -> None:
        """Send it something, if it lives. One that does not read is killed: it will not carry out this either."""
        if self._channel is not None and not self._channel.post(message):
            self._kill("it does not read what it is sent")

    def stop(self, *, end_streams: bool) -> None:
        """Have it end, and not start again. A second call hurries it."""
        self._stopping.set()
        if self.is_running:
            self.stage = Stage.STOPPING
            self.post(Stop(end_streams))

    def kill(self) -> None:
        """End it at once: it had its time to stop."""
        if self.is_running:
            self._kill("it did not stop in time")

    def _kill(self, why: str) -> None:
        if self._process is not None and self._process.returncode is None:
            log.error("worker killed", worker=self.node, pid=self.pid, why=why)
            self._process.kill()

    async def _live(self) -> str:
        """Run it once. Returns why it ended."""
        self.incarnation, self.pong, self._status = secrets.token_hex(8), None, None
        self.stage, self._pulse = Stage.STARTING, Pulse(START_LIMIT_S)
        ours, theirs = socket.socketpair()
        channel = self._channel = Channel(ours)
        try:
            with theirs:
                begin, descriptors = self._house.begin(self)
                channel.post(begin)
                self._process = await _spawn(self.node, theirs, descriptors)
            self.pid = self._process.pid
            self._house.changed()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(channel.send_posted)
                nursery.start_soon(self._watch)
                heard_all = trio.Event()
                nursery.start_soon(self._listen, channel, heard_all)
                status = await self._process.wait()
                with trio.move_on_after(LAST_WORDS_S):
                    await heard_all.wait()
                nursery.cancel_scope.cancel()
        except OSError as error:
            self.is_clean = False
            return f"it cannot be started: {error}"
        finally:
            self._channel = self._process = self.pid = None
            channel.close()  # a worker that is alive, as this process ends, learns it by that
            self.stage = Stage.WAITING
            self._house.died(self)
        self._status, self.is_clean = status, status == 0
        return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"

    async def _listen(self, channel: Channel, heard_all: trio.Event) -> None:
        async for message in channel:
            match message:
                case Joined():
                    if self.stage is Stage.STARTING:
                        self.stage = Stage.JOINED
                    self._house.changed()
                case Ready():
                    log.info("worker ready", worker=self.node, pid=self.pid)
                    if self.stage in {Stage.STARTING, Stage.JOINED}:
                        self.stage, self._pulse = Stage.READY, Pulse(self._limit_s)
                    self._house.changed()
                case Pong():
                    self._pulse.answered(message.number)
                    self.pong, before = message, self.pong
                    if before is None or before.is_draining != message.is_draining:
                        self._house.changed()
                case _:
                    self._house.received(self, message)
        heard_all.set()

    async def _watch(self) -> None:
        """Kill it when it hangs. While it stops, it has the time of the stop."""
        while True:
            pulse = self._pulse
            self.post(Ping(pulse.ask(trio.current_time())))
            await trio.sleep(pulse.beat_s)
            if pulse.hangs and pulse is self._pulse and self.stage is not Stage.STOPPING:
                self._kill(f"it hangs: no answer for {pulse.limit_s:g} s")
                return


async def _spawn(node: str, channel: socket.socket, descriptors: Sequence[int]) -> trio.Process:
    """Start a fresh interpreter, in a session of its own: Ctrl-C on a terminal is the parent's, which passes it on."""
    number = channel.fileno()
    command = [sys.executable, "-P", "-m", "rtmsd", "worker", node, str(number)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_MANAGERS)}
    return await trio.lowlevel.open_process(
        command,
        stdin=subprocess.DEVNULL,
        pass_fds=[number, *descriptors],
        env=environment,
        start_new_session=True,
    )
