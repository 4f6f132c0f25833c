"""The listening sockets of all workers: opened once, by the parent, and inherited."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import attrs
import trio

from rtmsd.config import Config
from rtmsd.daemon.admin_sockets import open_admin_sockets
from rtmsd.http.listening import address_of
from rtmsd.webhook.listen import open_listeners


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
