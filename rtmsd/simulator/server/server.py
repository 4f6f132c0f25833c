"""The simulator: sessions and their streams, one clock that drives them, one listener, one webhook sender."""

import functools
import heapq
import itertools
import secrets
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

import trio

from rtmsd.errors import ListenError
from rtmsd.protocol.enums import MediaType
from rtmsd.protocol.products import PRODUCTS, IdKey, SpeakerKey
from rtmsd.simulator.model.answers import AS_ASKED, Answers
from rtmsd.simulator.model.clock import ZoomClock
from rtmsd.simulator.model.record import Notice, WebhookDelivery
from rtmsd.simulator.model.settings import Addresses, DuplicateSignaling, Person, SimRoom, SimulatorSettings
from rtmsd.simulator.server.acceptor import Acceptor, in_url, listen
from rtmsd.simulator.server.authority import open_authority, server_context
from rtmsd.simulator.server.rest import RestApi
from rtmsd.simulator.stream.phase import SimPhase
from rtmsd.simulator.stream.session import SimSession
from rtmsd.simulator.stream.stream import Route
from rtmsd.simulator.wire.webhooks import WebhookSender, open_webhook_sender

_SHORTEST_SLEEP_S: Final = 0.001  # local: sessions due within it are served together

Observer: TypeAlias = Callable[[str | None, Notice], None]


class Simulator:
    """A simulated Zoom with any number of sessions. Made by `open_simulator`.

    Attributes:
        sessions: by `rtms_stream_id`, ended ones too.
        rooms: the running sessions by id, with and without streams.
        address: host and port of signaling and media, as in URLs, IPv6 in brackets.
        rest: the REST API.
        acceptor: serves the connections of clients.
        observer: called with each notice, and the id of its stream, if it has one.
        webhooks: deliveries without a session.
        ca_pem: the certificate of the CA, b"" without TLS.
    """

    def __init__(
        self,
        settings: SimulatorSettings,
        clock: ZoomClock,
        sender: WebhookSender,
        nursery: trio.Nursery,
        *,
        address: str,
        api_address: str,
        ca_pem: bytes,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.sender = sender
        self.nursery = nursery
        self.address = address
        self.ca_pem = ca_pem
        self.sessions: dict[str, SimSession] = {}
        self.rooms: dict[str, SimRoom] = {}
        self.rest = RestApi(self, api_address)
        self.acceptor = Acceptor(
            tls=settings.tls,
            close_s=settings.close_s,
            name_processes=settings.name_processes,
            report_stray=functools.partial(self.observe, None),
        )
        self.observer: Observer = lambda rtms_stream_id, notice: None
        sender.observer = functools.partial(self.observe, None)
        self.webhooks: list[WebhookDelivery] = []
        self._due: list[tuple[int, int, SimSession]] = []  # a heap of (Zoom's time, tie-breaker, session)
        self._counter = itertools.count(1)
        self._work = trio.Event()

    def hold_session(
        self,
        people: Sequence[Person | str] = ("Ana", "Bo"),
        *,
        product: str = "session",
        session_id: str | None = None,
        session_key: str = "room-7",
        media: MediaType | None = None,
        details: Mapping[str, Any] | None = None,
        id_key: IdKey | None = None,
        speaker_key: SpeakerKey | None = None,
        protocol_version: int = 1,
        addresses: Addresses = "ws",
        answers: Answers | None = None,
        duplicate_signaling: DuplicateSignaling | None = None,
    ) -> SimRoom:
        """Open a session of these people. There is no stream yet: `start_stream`, or the REST API, starts one.

        Args:
            people: names, or `Person`s; by default they talk all the time.
            product: a key of `PRODUCTS`.
            media: the app has scopes for these; None: all that the product has.
            details: further fields of the started webhook, as `account_id`.
            id_key, speaker_key: one of the product's; None: the first.
            protocol_version, addresses: see `SimRoom`.
            answers: what media handshakes are granted instead of what they ask for.
            duplicate_signaling: what a second signaling connection meets; None: what the settings say.
        """
        room = SimRoom(
            session_id=session_id or secrets.token_urlsafe(12) + "+/A==",  # base64, as Zoom's look
            people=tuple(Person(user_name=person) if isinstance(person, str) else person for person in people),
            product=product,
            session_key=session_key,
            media=PRODUCTS[product].media if media is None else media,
            details=self._details(product) | dict(details or {}),
            id_key=id_key or PRODUCTS[product].id_keys[0],
            speaker_key=speaker_key or PRODUCTS[product].speaker_keys[0],
            protocol_version=protocol_version,
            addresses=addresses,
            answers=answers or AS_ASKED,
            duplicate_signaling=duplicate_signaling or self.settings.duplicate_signaling,
        )
        self.rooms[room.session_id] = room
        return room

    async def start_session(
        self,
        people: Sequence[Person | str] = ("Ana", "Bo"),
        *,
        rtms_stream_id: str | None = None,
        **options: Any,
    ) -> SimSession:
        """Start a session and its stream: see `hold_session`, which takes the options, and `start_stream`."""
        room = self.hold_session(people, **options)
        return await self.start_stream(room, rtms_stream_id)

    async def start_stream(self, room: SimRoom, rtms_stream_id: str | None = None) -> SimSession:
        """Start a stream of a session and return after its webhook.

        Raises:
            ValueError: the stream id is taken.
        """
        session = SimSession(self, room, rtms_stream_id or uuid.uuid4().hex)
        if session.rtms_stream_id in self.sessions:
            raise ValueError(f"stream {session.rtms_stream_id} exists already")
        self.sessions[session.rtms_stream_id] = session
        for person in room.people:
            session.crowd.join(person, session.started_ms)
        heapq.heappush(self._due, (session.started_ms, next(self._counter), session))
        self._work.set()
        await session.announce()
        return session

    def stream_of(self, room: SimRoom) -> SimSession | None:
        """Return the newest stream of a session, live or ended."""
        streams = reversed(self.sessions.values())
        return next((stream for stream in streams if stream.session_id == room.session_id), None)

    @staticmethod
    def _details(product: str) -> dict[str, Any]:
        return {"operator_id": "opSimulated01"} if product in ("meeting", "webinar") else {"account_id": "AcctDemo_001"}

    async def validate_endpoint(self) -> bool:
        """Challenge an endpoint as Zoom does when it is configured; return whether the answer was right."""
        return await self.sender.validate(self.webhooks)

    async def send_webhook(self, event: str, payload: Mapping[str, Any], *, kind: str = "genuine") -> int | None:
        """Send any event, as `rtms.concurrency_limited`, and return the status."""
        return await self.sender.send(event, self.clock.now_ms(), payload, self.webhooks, kind)

    def observe(self, rtms_stream_id: str | None, notice: Notice) -> None:
        """Report a notice at once."""
        self.observer(rtms_stream_id, notice)

    def url(self, path: str, route: Route) -> str:
        """Register `path` for `route` and return its URL."""
        self.acceptor.register(path, route)
        return f"{self.acceptor.scheme}://{self.address}{path}"

    async def run_clock(self) -> None:
        """Drive all sessions in one task: a task for each would cost more than their work."""
        while True:
            now_ms = self.clock.now_ms()
            while self._due and self._due[0][0] <= now_ms:
                _, number, session = heapq.heappop(self._due)
                if session.phase is not SimPhase.ENDED:
                    heapq.heappush(self._due, (session.advance(now_ms), number, session))
            if self._due:
                await trio.sleep(max(_SHORTEST_SLEEP_S, self.clock.local_s((self._due[0][0] - now_ms) / 1000)))
            else:
                self._work = trio.Event()
                await self._work.wait()


@asynccontextmanager
async def open_simulator(settings: SimulatorSettings | None = None) -> AsyncIterator[Simulator]:
    """Listen, and yield a simulator; at the exit all connections are cut.

    Raises:
        ListenError: cannot bind the address.
        AuthorityError: as `open_authority`.
    """
    settings = settings or SimulatorSettings()
    clock = ZoomClock(settings.speed)
    authority = open_authority(settings.ca_file) if settings.tls else None
    try:
        listeners = await listen(settings.host, settings.port)
        api_listeners = await listen(settings.host, 0)
    except (OSError, UnicodeError) as error:  # UnicodeError: an invalid name
        raise ListenError(f"{in_url(settings.host, settings.port)}: {error}") from error
    serving: list[trio.SocketListener | trio.SSLListener[trio.SocketStream]] = list(listeners)
    if authority is not None:
        bound = [listener.socket.getsockname()[0] for listener in listeners]
        context = server_context(authority, [settings.host, *bound])
        serving = [trio.SSLListener(listener, context, https_compatible=True) for listener in listeners]
    async with open_webhook_sender(settings, clock) as sender, trio.open_nursery() as nursery:
        simulator = Simulator(
            settings,
            clock,
            sender,
            nursery,
            # The name as given: some clients verify a certificate only by name.
            address=in_url(settings.host, listeners[0].socket.getsockname()[1]),
            api_address=in_url(settings.host, api_listeners[0].socket.getsockname()[1]),
            ca_pem=b"" if authority is None else authority.cert_pem.bytes(),
        )
        nursery.start_soon(simulator.run_clock)
        nursery.start_soon(trio.serve_listeners, simulator.acceptor.serve, serving)
        nursery.start_soon(trio.serve_listeners, simulator.rest.serve, api_listeners)
        try:
            yield simulator
        finally:
            nursery.cancel_scope.cancel()
