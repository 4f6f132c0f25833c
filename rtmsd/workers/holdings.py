"""What the parent holds for its workers: the listening sockets, and a disk, unless each has one of its own."""

import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from typing import Protocol, Self

import attrs
import structlog
import trio

from rtmsd.config import Config
from rtmsd.daemon.admin_sockets import open_admin_sockets
from rtmsd.daemon.holdings import Holdings
from rtmsd.http.listening import address_of
from rtmsd.recording.library.librarian import Librarian
from rtmsd.recording.library.sharing import SharedRecordings
from rtmsd.sinks.deliveries import Deliveries
from rtmsd.sinks.registry import build
from rtmsd.streams.running import local_ms
from rtmsd.webhook.listen import open_listeners
from rtmsd.workers.messages import Delivered, Due, Held, Hold, Inherited, Message, Release
from rtmsd.workers.process import Stage, WorkerProcess

log = structlog.get_logger()


@attrs.frozen
class Sockets:
    """Listening, and accepted on by nobody here: who connects waits for a worker."""

    by_door: Mapping[str, Sequence[trio.SocketListener]]

    @property
    def descriptors(self) -> dict[str, list[int]]:
        """What a worker has to inherit, by the name of the door."""
        return {door: [listener.socket.fileno() for listener in listeners] for door, listeners in self.by_door.items()}

    @property
    def webhook(self) -> str:
        """The bound addresses, for people."""
        return ", ".join(address_of(listener) for listener in self.by_door["webhook"])


@asynccontextmanager
async def open_sockets(config: Config, inherited: Mapping[str, Sequence[int]]) -> AsyncIterator[Sockets]:
    """Open what the configuration names, and close it at the end.

    Args:
        inherited: from the service manager; they replace those.

    Raises:
        AlreadyRunningError, ListenError: as `rtmsd.http.listening`.
    """
    async with AsyncExitStack() as stack:
        admin = await stack.enter_async_context(open_admin_sockets(config.admin, inherited.get("admin", [])))
        webhook = await open_listeners(config.webhook.listen, inherited.get("webhook", []))
        for listener in webhook:
            stack.callback(listener.socket.close)
        yield Sockets({"webhook": webhook, "admin": admin.admin, "metrics": admin.metrics})


class Disk(Protocol):
    """The disk of the workers, as far as it concerns their parent."""

    @property
    def inherited(self) -> Inherited | None:
        """What a worker is given of it."""

    def configure(self, config: Config, secrets: Collection[str]) -> None:
        """Use a configuration from now on."""

    def tell(self, workers: Sequence[WorkerProcess]) -> None:
        """Tell the workers how things stand; called every second."""

    def died(self, worker: WorkerProcess) -> None: ...

    def received(self, worker: WorkerProcess, message: Message) -> None:
        """A worker sent something that concerns nothing else."""

    def stop(self) -> None:
        """Begin nothing more."""

    async def until_idle(self) -> None:
        """Return when nothing runs any more."""


def open_disk(config: Callable[[], Config], secrets: Collection[str]) -> AbstractAsyncContextManager[Disk]:
    """Open what the workers share; nothing, if they are members of a cluster.

    Args:
        config: in force, asked each time.

    Raises:
        AlreadyRunningError: another daemon holds the state file, or recordings.
        StorageError: something cannot be locked, read or written.
    """
    return SharedDisk.open(config, secrets) if config().cluster is None else nullcontext(OwnDisks())


class OwnDisks:
    """Of members: what one of them does with its own concerns nobody else here. See `Disk`."""

    inherited = None

    def configure(self, config: Config, secrets: Collection[str]) -> None: ...

    def tell(self, workers: Sequence[WorkerProcess]) -> None: ...

    def died(self, worker: WorkerProcess) -> None: ...

    def received(self, worker: WorkerProcess, message: Message) -> None:
        _unexpected(worker, message)

    def stop(self) -> None: ...

    async def until_idle(self) -> None: ...


class SharedDisk:
    """One state file, and the same directories of recordings: the parent prunes, tidies and delivers. See `Disk`."""

    def __init__(
        self, holdings: Holdings, deliveries: Deliveries, sharing: SharedRecordings, nursery: trio.Nursery
    ) -> None:
        self._holdings, self._deliveries, self._sharing, self._nursery = holdings, deliveries, sharing, nursery
        self._held: dict[str, set[str]] = {}  # by incarnation, the streams that are being deleted there
        self._told: Counter[tuple[str, str]] = Counter()

    @classmethod
    @asynccontextmanager
    async def open(cls, config: Callable[[], Config], secrets_of_log: Collection[str]) -> AsyncIterator[Self]:
        """See `open_disk`."""
        now = config()
        async with Holdings.open(now, is_shared=True) as holdings, trio.open_nursery() as nursery:
            journal = holdings.journal
            deliveries = Deliveries(journal, now.recording.directory, local_ms)
            sharing = SharedRecordings(journal, f"parent {secrets.token_hex(8)}")
            librarian = Librarian([*holdings.directories], lambda: (), wanted=deliveries.unfinished, sharing=sharing)
            disk = cls(holdings, deliveries, sharing, nursery)
            disk.configure(now, secrets_of_log)
            nursery.start_soon(holdings.look_after, librarian, deliveries, config)
            yield disk
            nursery.cancel_scope.cancel()

    @property
    def inherited(self) -> Inherited:
        journal, directories = self._holdings.journal, self._holdings.directories
        return Inherited(
            state_lock=journal.lock_descriptors,
            set_aside=None if journal.set_aside is None else str(journal.set_aside),
            salvaged=journal.salvaged,
            directories={str(path): numbers for path, numbers in directories.descriptors.items()},
        )

    def configure(self, config: Config, secrets: Collection[str]) -> None:
        self._deliveries.configure(build(config.archive_sinks, frozenset(secrets)))

    def tell(self, workers: Sequence[WorkerProcess]) -> None:
        """Tell all how deliveries stand."""
        for worker in workers:
            worker.post(Delivered(self._deliveries.figures({})))
        first = next((worker for worker in workers if worker.stage is Stage.READY), None)
        if first is not None and (more := self._deliveries.results - self._told):  # once, as metrics are summed
            first.post(Delivered(self._deliveries.figures(more)))
            self._told += more

    def died(self, worker: WorkerProcess) -> None:
        for rtms_stream_id in self._held.pop(worker.incarnation, ()):
            self._deliveries.closed(rtms_stream_id)  # whoever takes the stream over deletes it, and holds it again
        self._deliveries.due()  # what it queued in its last instant, it had no time to say
        self._nursery.start_soon(self._sharing.forget, worker.incarnation)

    def received(self, worker: WorkerProcess, message: Message) -> None:
        match message:
            case Due():
                self._deliveries.due()
            case Hold():
                self._nursery.start_soon(self._hold, worker, message.rtms_stream_id)
            case Release():
                self._held.get(worker.incarnation, set()).discard(message.rtms_stream_id)
                self._deliveries.closed(message.rtms_stream_id)
            case _:
                _unexpected(worker, message)

    async def _hold(self, worker: WorkerProcess, rtms_stream_id: str) -> None:
        incarnation = worker.incarnation
        self._held.setdefault(incarnation, set()).add(rtms_stream_id)
        await self._deliveries.revoke(rtms_stream_id)
        if worker.incarnation == incarnation:
            worker.post(Held(rtms_stream_id))

    def stop(self) -> None:
        self._deliveries.stop()

    async def until_idle(self) -> None:
        await self._deliveries.until_idle()


def _unexpected(worker: WorkerProcess, message: Message) -> None:
    log.error("unexpected message from a worker; ignored", worker=worker.node, what=type(message).__name__)
