"""How a member reaches the servers, and what it expects of them."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from rtmsd.config import ClusterConfig
from rtmsd.config.rules.addresses import may_be_reached, nats_server
from rtmsd.config.rules.certificates import present, trust
from rtmsd.config.rules.values import Mistake
from rtmsd.errors import ConfigError


@attrs.frozen(kw_only=True)
class NatsSettings:
    """The part of `[cluster]` that concerns the engine, checked by whoever read it.

    Attributes:
        name: first part of every subject and stream, so that several clusters can share servers.
        node: this member; of several on a machine with a number behind: "a.3".
        servers: URLs, `tls://` or `nats://`; the latter for loopback only, unless `allow_plain`.
        user, password: or `nkey`, the seed; or none of them.
        ca_file: beside the system's authorities.
        cert_file, key_file: the client's certificate.
        partitions: the same in all members, for good.
        replicas: 3, or 1 for a single server.
        keep_log_s: older records are deleted; an owner renews its own.
        answer_s: a request to the servers that is not answered for so long has failed. A webhook waits for two.
        ping_s: a server that answers no ping for two to three times as long is given up.
        absent_s: a member that does not listen is asked once more after this time: its server may have died.
    """

    name: str = "rtms"
    node: str
    servers: tuple[str, ...]
    allow_plain: bool = False
    user: str = ""
    password: str = attrs.field(default="", repr=False)
    nkey: str = attrs.field(default="", repr=False)
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    partitions: int = 16
    replicas: int = 3
    keep_log_s: float = 86_400
    answer_s: float = 1.0
    ping_s: float = 2.0
    absent_s: float = 0.3

    @classmethod
    def of(cls, config: ClusterConfig, node: str) -> "NatsSettings":
        """Return the settings of a member."""
        return cls(
            name=config.name,
            node=node,
            servers=config.servers,
            allow_plain=config.allow_plain,
            user=config.user,
            password=config.password,
            nkey=config.nkey,
            ca_file=config.ca_file,
            cert_file=config.cert_file,
            key_file=config.key_file,
            partitions=config.partitions,
            replicas=config.replicas,
            keep_log_s=config.keep_log_s,
        )

    def objection(self, server: str) -> str | None:
        """Return why a server that another announced must not be connected to; None: it may."""
        try:
            nats_server(server)
            may_be_reached(server, allow_plain=self.allow_plain)
        except Mistake as mistake:
            return str(mistake)
        return None

    def tls_context(self) -> ssl.SSLContext | None:
        """Return the context that checks the servers' certificates and host names; None: no server is to have TLS.

        Raises:
            ConfigError: a file cannot be read any more, or holds something else.
        """
        if not any(server.startswith("tls:") for server in self.servers):
            return None
        context = ssl.create_default_context()
        if self.ca_file is not None:
            with _named("cluster.ca_file"):
                trust(context, self.ca_file)
        if self.cert_file is not None and self.key_file is not None:
            with _named("cluster.cert_file"):
                present(context, self.cert_file, self.key_file)
        return context


@contextmanager
def _named(key: str) -> Iterator[None]:
    try:
        yield
    except Mistake as mistake:
        raise ConfigError([f"{key}: {mistake}"]) from None
