"""The engine as a whole: opened, prepared again with each connection, and closed."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import structlog
import trio

from rtmsd.cluster.engine import BEATS_KEPT, MAX_MESSAGE_BYTES, Away
from rtmsd.cluster.engines.nats.bus import NatsBeats, NatsBus
from rtmsd.cluster.engines.nats.client import Server
from rtmsd.cluster.engines.nats.connection import Connection, Mailbox
from rtmsd.cluster.engines.nats.jetstream import JetStream
from rtmsd.cluster.engines.nats.layout import Layout, Mismatch, Reader, prepare
from rtmsd.cluster.engines.nats.owners import NatsOwners
from rtmsd.cluster.engines.nats.settings import NatsSettings
from rtmsd.cluster.engines.nats.streamlog import NatsStreamLog
from rtmsd.cluster.engines.nats.watch import OwnWatch
from rtmsd.cluster.engines.survey import Store, Survey, read_store

log = structlog.stdlib.get_logger()

START_S: Final = 20.0
SETUP_S: Final = 5.0  # for an answer while streams are made
CLOSE_S: Final = 2.0
OLDEST: Final = (2, 11)
"""Older servers have no fence on another subject, and no messages that are forgotten after a time of their own."""
_HEADERS_BYTES: Final = 4096
PROBE_KEPT_S: Final = 1
_NO_REQUEST: Final = b"{"
_AGAIN_S: Final = 1.0


class NatsEngine:
    """The engine of one member.

    Attributes:
        owners, log, bus, beats: what `cluster.engine` describes, each by itself.
    """

    def __init__(self, settings: NatsSettings, connection: Connection, heard: Mailbox) -> None:
        self._layout = layout = Layout(settings.name, settings.partitions)
        self._settings = settings
        self._connection = connection
        self._reader = Reader()
        self._unprepared: str | None = None
        self._setup = JetStream(connection, answer_s=SETUP_S)
        self._jetstream = JetStream(connection, answer_s=settings.answer_s)
        self._watch = OwnWatch(connection, self._jetstream, layout, self._reader)
        self.owners = NatsOwners(connection, self._jetstream, layout, self._reader, self._watch)
        self.log = NatsStreamLog(connection, self._jetstream, layout, self._reader)
        self.bus = NatsBus(connection, layout, self._reader, absent_s=settings.absent_s)
        self.beats = NatsBeats(connection, layout, self._reader, heard)

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: NatsSettings, *, start_s: float = START_S) -> AsyncIterator["NatsEngine"]:
        """Take part for as long as the block lasts. While the servers are away it begins all the same, after `start_s`.

        Raises:
            ConfigError: of `settings`.
            Mismatch: the servers cannot be used with this configuration.
        """
        layout = Layout(settings.name, settings.partitions)
        async with Connection.open(settings) as connection:
            async with (
                connection.subscribe(layout.beat(">"), BEATS_KEPT) as heard,
                connection.subscribe(layout.question(settings.node, "*")) as questions,
            ):
                engine = cls(settings, connection, heard)
                number = 0
                with trio.move_on_after(start_s):
                    number = await engine._prepare(0)
                if number == 0:
                    log.warning("engine away", reason=engine.trouble)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(engine._keep_prepared, number)
                    nursery.start_soon(engine._keep_writing)
                    nursery.start_soon(engine._watch.run)
                    nursery.start_soon(engine.bus.run, questions)
                    try:
                        yield engine
                    finally:
                        nursery.cancel_scope.cancel()
            with trio.move_on_after(CLOSE_S, shield=True), contextlib.suppress(Away):
                await connection.flush()
                await engine.bus.dismiss(questions)

    @property
    def trouble(self) -> str | None:
        """The reason for which the engine cannot be used; None: it can, as far as is known."""
        if self._connection.server is None:
            return self._connection.refusal
        if (trouble := self._jetstream.trouble or self._unprepared) is not None:
            return trouble
        return None if self._jetstream.refused is None else self._jetstream.refused.why

    @property
    def server(self) -> Server | None:
        """The server that this member is connected to; None: to none, as far as is known."""
        return self._connection.server

    @property
    def connections(self) -> int:
        """How many connections there have been."""
        return self._connection.number

    @property
    def denied(self) -> tuple[str, ...]:
        """Permissions that turned out to be missing, in words."""
        return self._connection.denied

    @property
    def unreadable(self) -> Mapping[str, int]:
        """What came and could not be read, by its kind."""
        return {**self._reader.unreadable, "protocol": self._connection.unreadable}

    @property
    def pending(self) -> int:
        """Requests that are neither answered nor given up."""
        return self._connection.pending

    @property
    def renewals(self) -> int:
        """How often the watch of owners had to begin anew."""
        return self._watch.renewals

    async def survey(self, timeout_s: float) -> Survey:
        """Ask about each of JetStream's streams, once."""
        stores: dict[str, Store] = {}

        async def look(name: str) -> None:
            with contextlib.suppress(Away):
                if (info := await self._jetstream.info(name)) is not None:
                    stores[name] = read_store(name, info)

        names = self._layout.all_streams
        with trio.move_on_after(timeout_s):
            async with trio.open_nursery() as nursery:
                for name in names:
                    nursery.start_soon(look, name)
        return Survey(
            [stores[name] for name in names if name in stores], [each for each in names if each not in stores]
        )

    async def _prepare(self, after: int) -> int:
        """Wait for a connection of a number above `after`, and prepare the servers over it. Returns its number.

        Raises:
            Mismatch: they cannot be used with this configuration.
        """
        while True:
            number = await self._connection.up(after=after)
            try:
                if self._connection.server is not None:
                    _check_server(self._connection.server)
                await prepare(self._setup, self._settings)
                await self._probe()
            except Away as exc:
                if str(exc) != self._unprepared:
                    self._unprepared = str(exc)
                    log.info("engine not prepared yet", reason=self._unprepared)
                await trio.sleep(_AGAIN_S)
            else:
                self._unprepared = None
                return number

    async def _probe(self) -> None:
        """Publish once wherever a member has to: a permission that is missing is named now, not when a stream is
        revoked and cannot be purged.

        Raises:
            Away: the connection was lost.
        """
        for subject in self._layout.probes():
            await self._connection.publish(subject, _NO_REQUEST)

    async def _keep_prepared(self, number: int) -> None:
        """Prepare the servers again with each connection: they may be others, or have lost what they had."""
        while True:
            try:
                number = await self._prepare(number)
                self._jetstream.trouble = self._jetstream.refused = None
            except Mismatch as exc:  # streams are being recorded: it is no reason to end now
                log.warning("engine cannot be used", error=str(exc))
                number = self._connection.number
                self._jetstream.trouble = str(exc)

    async def _keep_writing(self) -> None:
        """Write for as long as the latest write was refused: who gave that one up may have nothing else to write, and
        the engine would be away for good.
        """
        while True:
            await trio.sleep(_AGAIN_S)
            if (refused := self._jetstream.refused) is not None:
                with contextlib.suppress(Away):
                    subject = self._layout.probe_beside(refused.subject, self._settings.node)
                    await self._jetstream.store(subject, _NO_REQUEST, replaces=True, keep_s=PROBE_KEPT_S)


def _check_server(server: Server) -> None:
    """Refuse a server that cannot do what is needed.

    Raises:
        Mismatch: it says what it lacks.
    """
    try:
        major, minor = map(int, server.version.split(".")[:2])
    except ValueError:
        major, minor = 0, 0
    name = f"nats-server at {server.address}"
    if (major, minor) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise Mismatch(f"{name} is version {server.version}: update it to {oldest} or newer")
    if server.max_payload < MAX_MESSAGE_BYTES + _HEADERS_BYTES:
        raise Mismatch(f"{name} takes messages of {server.max_payload} bytes only: set its max_payload to 1MB")
