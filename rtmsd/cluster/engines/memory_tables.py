"""The tables of the engine in memory: what a write does to them, and what a read finds. No Trio, no faults.

Records are kept encoded, so that nothing gets through that no other engine would take.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable

import attrs

from rtmsd.cluster.codec import AnyRecord, BadRecord, decode, encode
from rtmsd.cluster.engine import PAGE, Fenced, Lost, Placed
from rtmsd.cluster.records import Held, Log, Own, Part, Revoked, Row
from rtmsd.state.rows import Known


@attrs.define
class _Stream:
    own: bytes | None = None
    token: int = 0
    row: bytes | None = None
    parts: dict[str, bytes] = attrs.field(factory=dict)  # by node
    log: list[Placed[bytes]] = attrs.field(factory=list)


class Tables:
    """What members have in common; methods as in `cluster.engine`, where they are described.

    Attributes:
        unreadable: records that are none, counted as often as they are read.
    """

    def __init__(self) -> None:
        self.unreadable = 0
        self._streams: defaultdict[str, _Stream] = defaultdict(_Stream)
        self._revoked: list[Placed[bytes]] = []
        self._place = 0

    def put_garbage(self, rtms_stream_id: str, node: str, data: bytes) -> None:
        """Replace what a member says of its part by anything."""
        self._streams[rtms_stream_id].parts[node] = data

    def know(self, known: Known) -> None:
        """Have an unfinished stream that nobody owns, as a state file from a time without members has."""
        assert known.row is not None
        rtms_stream_id = known.row.rtms_stream_id
        self._streams[rtms_stream_id].row = encode(Row(rtms_stream_id=rtms_stream_id, token=0, known=known))

    def put_own(self, rtms_stream_id: str, data: bytes) -> int:
        """Replace an ownership record by anything, such as one of a newer version; return its token."""
        stream = self._streams[rtms_stream_id]
        stream.own, stream.token = data, self._next_place()
        return stream.token

    def read(self, rtms_stream_id: str) -> Held:
        stream = self._streams.get(rtms_stream_id, _Stream())
        row = None if stream.row is None else self._read(Row, stream.row)
        own = None if stream.own is None else self._read(Own, stream.own)
        if own is None:  # whoever claims replaces it
            return Held(None, stream.token, Known() if row is None else row.known)
        return Held(own, stream.token, own.known if row is None or row.token != stream.token else row.known)

    def claim(self, own: Own, seen: int) -> int:
        data = encode(own)
        held = self.read(own.rtms_stream_id)
        if held.own is not None and held.own.nonce == own.nonce:
            return held.token
        if held.token != seen:
            raise Lost(held)
        return self.put_own(own.rtms_stream_id, data)

    def orphans(self, living: Collection[str]) -> list[Held]:
        all_held = [self.read(rtms_stream_id) for rtms_stream_id in self._streams]
        return [
            held for held in all_held if held.is_unfinished and (held.own is None or held.own.incarnation not in living)
        ]

    def append(self, log: Log) -> None:
        data = encode(log)
        self._check_token(log.rtms_stream_id, log.token)
        self.put_log(log.rtms_stream_id, data)

    def put_log(self, rtms_stream_id: str, data: bytes) -> None:
        """Append anything."""
        self._streams[rtms_stream_id].log.append(Placed(self._next_place(), data))

    def put_row(self, row: Row) -> None:
        data = encode(row)
        self._check_token(row.rtms_stream_id, row.token)
        self._streams[row.rtms_stream_id].row = data

    def put_part(self, part: Part) -> None:
        self._streams[part.rtms_stream_id].parts[part.node] = encode(part)

    def parts(self, rtms_stream_id: str) -> list[Part]:
        parts = self._streams.get(rtms_stream_id, _Stream()).parts
        return [part for node in sorted(parts) if (part := self._read(Part, parts[node])) is not None]

    def _read(self, of: type[AnyRecord], data: bytes) -> AnyRecord | None:
        try:
            return decode(of, data)
        except BadRecord:
            self.unreadable += 1
            return None

    def _page(self, of: type[AnyRecord], placed: Iterable[Placed[bytes]], after: int) -> list[Placed[AnyRecord]]:
        read = [(each.place, self._read(of, each.record)) for each in placed if each.place > after]
        return [Placed(place, record) for place, record in read if record is not None][:PAGE]

    def read_log(self, rtms_stream_id: str, after: int) -> list[Placed[Log]]:
        log = self._streams.get(rtms_stream_id, _Stream()).log
        return self._page(Log, log, after)

    def purge(self, rtms_stream_id: str) -> None:
        stream = self._streams[rtms_stream_id]
        stream.row = None
        stream.parts.clear()
        stream.log.clear()

    def revoke(self, revoked: Revoked) -> None:
        self.put_revoked(encode(revoked))

    def put_revoked(self, data: bytes) -> None:
        """Order anything to be deleted."""
        if self._read(Revoked, data) is not None:
            self._revoked.append(Placed(self._next_place(), data))

    def revocations(self, after: int) -> list[Placed[Revoked]]:
        return self._page(Revoked, self._revoked, after)

    def _check_token(self, rtms_stream_id: str, token: int) -> None:
        newest = self.read(rtms_stream_id).token
        if newest != token or newest == 0:
            raise Fenced(f"token {token} is not the newest, which is {newest}")

    def _next_place(self) -> int:
        self._place += 1
        return self._place
