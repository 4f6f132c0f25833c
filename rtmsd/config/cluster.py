"""The section `[cluster]`: this process as a member of several, on machines that share NATS servers."""

import base64
import binascii
import importlib.util
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, Literal

import attrs

from rtmsd.config.rules.addresses import may_be_reached, nats_server
from rtmsd.config.rules.secret import Secret
from rtmsd.config.rules.values import Between, Matches, Mistake, no_repeats, one_word_or_none

MAX_PARTITIONS: Final = 64
KEEP_ENDED_S: Final = 2 * 3600
"""The time for which a stream that ended is still known: Zoom's last repetition of a webhook comes after 85 min."""

LEAST_SPOOL_BYTES: Final = 2**20
LEAST_GATHER_BYTES_PER_S: Final = 2**18
_MAX_KEEP_LOG_S: Final = 365 * 86_400
_PACKAGES: Final = {"nats": "nats-py", "nkeys": "nkeys"}  # by module; not imported here
_NODE: Final = r"[A-Za-z0-9_-]{1,64}"


def _outlasts_webhooks(value: float) -> None:
    if not KEEP_ENDED_S <= value <= _MAX_KEEP_LOG_S:
        raise Mistake(
            f"must be from {KEEP_ENDED_S} to {_MAX_KEEP_LOG_S}, not {value}: Zoom repeats a webhook for up to 85 min, "
            "and a stream that has ended must still be known then"
        )


def _nkey_seed(value: str) -> None:
    """Accept the seed of a user: prefix, 32 bytes and their CRC in base32, which no library is needed to check."""
    try:
        raw = base64.b32decode(value + "=" * (-len(value) % 8))
    except ValueError:
        raw = b""
    is_whole = len(raw) == 36 and binascii.crc_hqx(raw[:-2], 0) == int.from_bytes(raw[-2:], "little")
    if not (is_whole and value.startswith("SU")):
        raise Mistake('is not the seed of a user\'s nkey: 58 letters and digits that begin with "SU" (nk -gen user)')


def missing_packages() -> str:
    """Return what the section needs and this installation lacks; "": nothing."""
    missing = [package for module, package in _PACKAGES.items() if importlib.util.find_spec(module) is None]
    return f"needs {' and '.join(missing)}, missing in {sys.prefix}: pip install 'rtmsd[cluster]'" if missing else ""


@attrs.frozen(kw_only=True)
class ClusterConfig:
    name: Annotated[str, Matches(r"[a-z0-9]{1,16}", "1 to 16 of a-z and 0-9")] = "rtms"
    node: Annotated[str, Matches(rf"({_NODE})?", "1 to 64 letters, digits or _ -")] = ""
    servers: Annotated[tuple[Annotated[str, nats_server], ...], no_repeats] = ()
    allow_plain: bool = False
    user: Annotated[str, one_word_or_none] = ""
    password: Secret = attrs.field(default="", repr=False)
    nkey: Annotated[Secret, _nkey_seed] = attrs.field(default="", repr=False)
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    zone: Annotated[str, Matches(r"[A-Za-z0-9_.-]{0,64}", "at most 64 letters, digits or . _ -")] = ""
    partitions: Annotated[int, Between(1, MAX_PARTITIONS)] = 16
    replicas: Literal[1, 3, 5] = 3
    beat_s: Annotated[float, Between(0.05, 60)] = 1.0
    dead_after_beats: Annotated[int, Between(2, 100)] = 3
    capacity_streams: Annotated[int, Between(1, 1_000_000)] = 1000
    takeover_handshakes: Annotated[int, Between(1, 10_000)] = 64
    on_stop: Literal["hand_over", "resume"] = "hand_over"
    hand_over_s: Annotated[float, Between(1, 3600)] = 60
    log: Annotated[tuple[Literal["events", "transcript"], ...], no_repeats] = ("events", "transcript")
    keep_log_s: Annotated[float, _outlasts_webhooks] = 86_400
    spool_bytes: Annotated[int, Between(LEAST_SPOOL_BYTES, 2**40)] = 256 * 2**20
    gather: Literal["at_end", "manual"] = "at_end"
    gather_bytes_per_s: Annotated[int, Between(LEAST_GATHER_BYTES_PER_S, 2**40)] = 20_000_000

    @property
    def node_name(self) -> str:
        """This member's name: by default, the machine's."""
        return self.node or socket.gethostname()

    @property
    def zone_name(self) -> str:
        """What fails together: the machine, if nothing else is said."""
        return self.zone or socket.gethostname()

    def mistakes(self) -> Iterator[tuple[str, str]]:
        """Yield keys that do not go together, or not with this machine, and why."""
        if re.fullmatch(_NODE, self.node_name) is None or self.node_name == "localhost":
            name = "not one of its own" if self.node_name == "localhost" else "not 1 to 64 letters, digits or _ -"
            yield "node", f"must be set: the name of this machine, {self.node_name!r}, is {name}"
        if not self.servers:
            yield "servers", 'names none; name at least one, as in ["tls://n1:4222"]'
        for index, server in enumerate(self.servers):
            try:
                may_be_reached(server, allow_plain=self.allow_plain)
            except Mistake as mistake:
                yield f"servers[{index}]", str(mistake)
        if self.nkey and (self.user or self.password):
            yield "nkey", "is one kind of credentials, user and password are another: remove one"
        elif self.user and not self.password:
            yield "password", "is missing, and user needs it"
        elif self.password and not self.user:
            yield "user", "is missing, and password needs it"
        if self.cert_file and not self.key_file:
            yield "key_file", "is missing, and cert_file needs it"
        elif self.key_file and not self.cert_file:
            yield "cert_file", "is missing, and key_file needs it"
