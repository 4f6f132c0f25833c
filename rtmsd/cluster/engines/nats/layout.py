"""What is kept where: subjects, streams and their settings; and the reading of what is found there.

Everything of an RTMS stream is in one of JetStream's streams, as a write can be fenced only by a subject of the same.
"""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar

import attrs
import structlog

from rtmsd.cluster.codec import BadRecord, NewerRecord, decode
from rtmsd.cluster.engine import Away, EngineError
from rtmsd.cluster.engines.nats.jetstream import JetStream
from rtmsd.cluster.engines.nats.settings import NatsSettings
from rtmsd.cluster.records import Log, Own, Part, Revoked, Row
from rtmsd.recording.disk.paths import safe_name

log = structlog.stdlib.get_logger()

FORMAT: Final = 1
"""Of what is kept, as a whole; its records have versions of their own."""
_KINDS: Final = ("own", "row", "part", "log", "revoked", "beat", "question")
KEEP_REVOKED_S: Final = 400 * 86_400
_NS: Final = 1_000_000_000
_ON_STREAMS: Final = ("CREATE", "UPDATE", "INFO", "PURGE", "MSG.GET")

Kept = TypeVar("Kept", Own, Row, Part, Log, Revoked)


class Mismatch(EngineError):
    """The servers cannot be used with this configuration; trying again does not help."""


@attrs.frozen
class Layout:
    """Names, by the name of the cluster and the number of its partitions."""

    name: str
    partitions: int

    @property
    def all_partitions(self) -> Sequence[str]:
        return [f"{number:02}" for number in range(self.partitions)]

    def partition(self, rtms_stream_id: str) -> str:
        return f"{zlib.crc32(rtms_stream_id.encode()) % self.partitions:02}"

    def stream(self, partition: str) -> str:
        """JetStream's stream of a partition."""
        return f"{self.name.upper()}_{partition}"

    def stream_of(self, rtms_stream_id: str) -> str:
        return self.stream(self.partition(rtms_stream_id))

    def own(self, rtms_stream_id: str) -> str:
        return self._subject("own", rtms_stream_id)

    def row(self, rtms_stream_id: str) -> str:
        return self._subject("row", rtms_stream_id)

    def log(self, rtms_stream_id: str) -> str:
        return self._subject("log", rtms_stream_id)

    def part(self, rtms_stream_id: str, node: str) -> str:
        """Of a member; ">": of all."""
        return f"{self._subject('part', rtms_stream_id)}.{node}"

    def owners(self, partition: str) -> str:
        return f"{self.name}.{partition}.own.*"

    def _subject(self, kind: str, rtms_stream_id: str) -> str:
        return f"{self.name}.{self.partition(rtms_stream_id)}.{kind}.{safe_name(rtms_stream_id)}"

    @property
    def revocations(self) -> str:
        """JetStream's stream of the orders to delete."""
        return f"{self.name.upper()}_REVOKED"

    @property
    def all_streams(self) -> Sequence[str]:
        """All of JetStream's streams."""
        return [self.revocations, *map(self.stream, self.all_partitions)]

    def revoked(self, rtms_stream_id: str) -> str:
        return f"{self.name}.revoked.{safe_name(rtms_stream_id)}"

    @property
    def all_revoked(self) -> str:
        return f"{self.name}.revoked.>"

    def beat(self, node: str) -> str:
        """Of a member; ">": of all."""
        return f"{self.name}.beat.{node}"

    def question(self, node: str, what: str) -> str:
        """To a member; what "*": all of them."""
        return f"{self.name}.node.{node}.{what}"

    def probe_beside(self, subject: str, node: str) -> str:
        """Return a subject of the same stream that nobody reads; beside one of no partition: of the first."""
        partition = subject.removeprefix(f"{self.name}.").partition(".")[0]
        return f"{self.name}.{partition if partition in self.all_partitions else '00'}.probe.{node}"

    def permissions(self, node: str) -> tuple[Sequence[str], Sequence[str]]:
        """Return the subjects to which a member has to be allowed to publish, and to subscribe.

        NATS has wildcards for whole parts of a subject only, so that these hold for all streams of the account.
        """
        streams = [f"$JS.API.STREAM.{what}.*" for what in _ON_STREAMS]
        publish = [f"{self.name}.>", f"_INBOX_{self.name}.>", *streams, "$JS.API.CONSUMER.CREATE.*.>", "$JS.FC.>"]
        return publish, [f"{self.name}.>", f"_INBOX_{self.name}.{node}.>"]

    def probes(self) -> Sequence[str]:
        """Return a subject for each permission to publish, on which a message that is none does nothing."""
        api = [f"$JS.API.STREAM.{what}.{self.revocations}" for what in _ON_STREAMS]
        consumer = f"$JS.API.CONSUMER.CREATE.{self.revocations}.probe.{self.all_revoked}"
        return [*api, consumer, f"$JS.FC.{self.name}.probe", f"_INBOX_{self.name}.probe", f"{self.name}.probe"]


async def prepare(jetstream: JetStream, settings: NatsSettings) -> None:
    """Create what is not there yet, and compare what is.

    Raises:
        Mismatch: the cluster was made with another configuration.
        Away: no answer.
    """
    layout = Layout(settings.name, settings.partitions)
    common = {
        "storage": "file",
        "num_replicas": settings.replicas,
        "discard": "new",
        "allow_direct": False,  # a read from a follower may be stale
        "metadata": {"v": str(FORMAT), "partitions": str(settings.partitions), "replicas": str(settings.replicas)},
    }
    await _prepare(
        jetstream,
        common | {"name": layout.revocations, "subjects": [layout.all_revoked], "max_age": KEEP_REVOKED_S * _NS},
    )
    for partition in layout.all_partitions:
        await _prepare(
            jetstream,
            common
            | {
                "name": layout.stream(partition),
                "subjects": [f"{settings.name}.{partition}.>"],
                "max_age": int(settings.keep_log_s * _NS),
                "allow_rollup_hdrs": True,
                "allow_msg_ttl": True,
            },
        )


async def _prepare(jetstream: JetStream, wanted: Mapping[str, Any]) -> None:
    name = wanted["name"]
    info = await jetstream.info(name)
    if info is None:
        try:
            await jetstream.create(wanted)
        except Away:
            info = await jetstream.info(name)  # somebody was quicker, with another configuration
            if info is None:
                raise
    if info is None:
        return
    found = info["config"]
    _compare(found.get("metadata") or {}, wanted["metadata"], name)
    # How many copies there are may be changed by whoever runs the servers; the rest is ours.
    settled = {key: value for key, value in wanted.items() if key not in {"metadata", "num_replicas"}}
    if any(found.get(key) != value for key, value in settled.items()):
        await jetstream.update(dict(found) | settled)
        log.info("engine settings changed", stream=name)


def _compare(found: Mapping[str, Any], wanted: Mapping[str, Any], name: str) -> None:
    if not wanted.keys() <= found.keys():
        raise Mismatch(f"the servers have a stream {name} that rtmsd did not make: use another cluster.name")
    if found["v"] != wanted["v"]:
        raise Mismatch(f"the cluster's records have format {found['v']}, this rtmsd's {wanted['v']}: use its version")
    for key in ("partitions", "replicas"):
        if found[key] != wanted[key]:
            raise Mismatch(
                f"cluster.{key} is {wanted[key]} here, but the cluster was made with {found[key]}: "
                f"use {found[key]}, or another cluster.name"
            )


class Reader:
    """Reads what is kept. What cannot be read is counted, and as good as not there.

    Attributes:
        unreadable: by kind of record.
    """

    def __init__(self) -> None:
        self.unreadable = dict.fromkeys(_KINDS, 0)
        self._logged: set[tuple[str, bool]] = set()

    def record(self, of: type[Kept], data: bytes, subject: str) -> Kept | None:
        """Read a record that was found on a subject.

        Raises:
            NewerRecord: it is an ownership record, of a version that does not even tell us whose. Others are skipped.
        """
        try:
            record = decode(of, data)
        except BadRecord as exc:
            is_newer = isinstance(exc, NewerRecord)
            self.refuse(of.__name__.lower(), str(exc), is_newer=is_newer)
            if of is Own and is_newer:
                raise
            return None
        if safe_name(record.rtms_stream_id) not in subject.split("."):
            self.refuse(of.__name__.lower(), "of another stream than its subject")
            return None
        return record

    def refuse(self, kind: str, why: str, *, is_newer: bool = False) -> None:
        """Count one. Of each kind the first is logged, and the first of a newer version: there may be very many."""
        self.unreadable[kind] += 1
        if (kind, is_newer) not in self._logged:
            self._logged.add((kind, is_newer))
            what = "is of a newer rtmsd, and left alone: update rtmsd here" if is_newer else "unreadable"
            log.warning(f"engine record {what}", kind=kind, reason=why)
