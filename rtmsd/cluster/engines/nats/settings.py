"""How a member reaches the servers, and what it expects of them."""

import ipaddress
import re
import ssl
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import attrs
import nkeys

from rtmsd.errors import ConfigError

_NAME: Final = re.compile(r"[a-z0-9]{1,16}")
_NODE: Final = re.compile(r"[A-Za-z0-9_-]{1,64}(\.[0-9]{1,3})?")
MAX_PARTITIONS: Final = 64


@attrs.frozen(kw_only=True)
class NatsSettings:
    """The part of `[cluster]` that concerns the engine.

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
        answer_s: a request to the servers that is not answered for so long has failed.
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
    answer_s: float = 5.0
    ping_s: float = 2.0
    absent_s: float = 0.3

    def check(self) -> None:
        """Check what can be checked without connecting.

        Raises:
            ConfigError: with every mistake.
        """
        mistakes = [f"cluster.servers: {mistake}" for server in self.servers if (mistake := self.objection(server))]
        if not self.servers:
            mistakes.append('cluster.servers: none given; name at least one, as in ["tls://n1:4222"]')
        if not _NAME.fullmatch(self.name):
            mistakes.append(f"cluster.name: {self.name!r} is not 1 to 16 of a-z and 0-9")
        if not _NODE.fullmatch(self.node):
            mistakes.append(f"cluster.node: {self.node!r} is not 1 to 64 of A-Z, a-z, 0-9, _ and -")
        if not 1 <= self.partitions <= MAX_PARTITIONS:
            mistakes.append(f"cluster.partitions: {self.partitions} is not 1 to {MAX_PARTITIONS}")
        if self.replicas not in {1, 3, 5}:
            mistakes.append(f"cluster.replicas: {self.replicas} is not 1, 3 or 5")
        if self.nkey and (self.user or self.password):
            mistakes.append("cluster.nkey: remove it, or user and password: one kind of credentials is used")
        elif self.nkey and not _is_seed(self.nkey):
            mistakes.append("cluster.nkey: is not the seed of a user's nkey, which begins with SU")
        elif bool(self.user) != bool(self.password):
            mistakes.append("cluster.user: needs a password, and the password a user")
        if bool(self.cert_file) != bool(self.key_file):
            mistakes.append("cluster.cert_file: needs key_file, and key_file needs it")
        if mistakes:
            raise ConfigError(mistakes)

    def objection(self, server: str) -> str | None:
        """Return why a server must not be connected to, be it configured or announced by another; None: it may."""
        try:
            url = urlsplit(server)
            host, _ = url.hostname, url.port
        except ValueError:
            return f"{server!r} is no URL"
        if url.scheme not in {"tls", "nats"} or not host:
            return f"{server!r} is not tls://host:port or nats://host:port"
        if url.username or url.password:
            return f"{url.scheme}://{host}: credentials belong into user and password, or nkey"
        if url.scheme == "nats" and not self.allow_plain and not _is_loopback(host):
            return f"{server!r} would be plain text over the network: use tls://, or set allow_plain"
        return None

    def tls_context(self) -> ssl.SSLContext | None:
        """Return the context that checks the servers' certificates and host names; None: no server is to have TLS.

        Raises:
            ConfigError: a file cannot be read, or holds something else.
        """
        if not any(server.startswith("tls:") for server in self.servers):
            return None
        context = ssl.create_default_context()
        if self.ca_file is not None:
            try:
                context.load_verify_locations(self.ca_file)
            except ssl.SSLError:
                raise ConfigError([f"cluster.ca_file: {self.ca_file} holds no PEM certificate"]) from None
            except OSError as exc:
                raise ConfigError([f"cluster.ca_file: cannot read {self.ca_file}: {exc.strerror}"]) from exc
        if self.cert_file is not None:
            try:
                context.load_cert_chain(self.cert_file, self.key_file)
            except ssl.SSLError:
                files = f"{self.cert_file} and {self.key_file}"
                raise ConfigError([f"cluster.cert_file: {files} are not a PEM certificate and its key"]) from None
            except OSError as exc:
                raise ConfigError([f"cluster.cert_file: cannot read it or key_file: {exc.strerror}"]) from exc
        return context


def _is_seed(nkey: str) -> bool:
    try:
        pair = nkeys.from_seed(bytearray(nkey.strip().encode()))
    except (nkeys.NkeysError, ValueError):
        return False
    pair.wipe()
    return nkey.strip().startswith("SU")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
