"""Strategies for the records of a cluster."""

from typing import Any

from hypothesis import strategies as st

from rtmsd.cluster.codec import MAX_DELIVERED, Record
from rtmsd.cluster.records import (
    Beat,
    Log,
    MemberState,
    Own,
    Part,
    PartState,
    Revoked,
    Row,
    TenureState,
    Why,
)
from rtmsd.protocol.messages import SessionRef
from rtmsd.protocol.products import ID_KEYS, PRODUCTS
from rtmsd.protocol.times import LATEST_MS
from rtmsd.state.rows import Delivery, Known, StreamRow

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
NODES = st.from_regex(r"[A-Za-z0-9_-]{1,64}(\.[0-9]{1,3})?", fullmatch=True)
RANDOMS = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)
COUNTS = st.integers(0, 2**53)
TIMES_MS = st.integers(0, LATEST_MS - 1)
MS = st.integers(-(2**53), 2**53)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=4)
MORE = st.dictionaries(TEXTS.map("new_".__add__), VALUES, max_size=3)
ENTRIES = st.lists(OBJECTS, max_size=3).map(tuple)


@st.composite
def rows(draw: st.DrawFn, rtms_stream_id: str) -> StreamRow:
    return StreamRow(
        rtms_stream_id=rtms_stream_id,
        product=draw(st.sampled_from([*PRODUCTS])),
        session=SessionRef(draw(st.sampled_from(ID_KEYS)), draw(TEXTS)),
        app=draw(TEXTS),
        server_urls=draw(st.none() | st.sampled_from(["wss://a.zoom.us:443", "ws://localhost:1/ä"])),
        started_ms=draw(st.none() | TIMES_MS),
        event_ts=draw(TIMES_MS),
        stop_reason=draw(st.none() | st.integers(0, 30)),
        stopped_ms=draw(st.none() | TIMES_MS),
        closed=draw(st.booleans()),
        details=draw(OBJECTS),
    )


def knowns(rtms_stream_id: str) -> st.SearchStrategy[Known]:
    deliveries = st.builds(Delivery, event=TEXTS, event_ts=TIMES_MS, session_id=TEXTS)
    return st.builds(Known, st.none() | rows(rtms_stream_id), st.lists(deliveries, max_size=MAX_DELIVERED).map(tuple))


OWNS = IDS.flatmap(
    lambda rtms_stream_id: st.builds(
        Own,
        rtms_stream_id=st.just(rtms_stream_id),
        node=NODES,
        incarnation=RANDOMS,
        epoch=COUNTS,
        nonce=RANDOMS,
        why=st.sampled_from(Why),
        state=st.sampled_from(TenureState),
        known=knowns(rtms_stream_id),
        version=st.just(1),
        more=MORE,
    )
)
ROWS = IDS.flatmap(
    lambda rtms_stream_id: st.builds(
        Row,
        rtms_stream_id=st.just(rtms_stream_id),
        token=COUNTS,
        known=knowns(rtms_stream_id),
        version=st.just(1),
        more=MORE,
    )
)
PARTS = st.builds(
    Part,
    rtms_stream_id=IDS,
    node=NODES,
    token=COUNTS,
    epoch=COUNTS,
    state=st.sampled_from(PartState),
    clock_ms=st.none() | MS,
    first_packet_ms=st.none() | MS,
    paused_since_ms=st.none() | MS,
    participants=ENTRIES,
    media=OBJECTS,
    files=ENTRIES,
    bytes=COUNTS,
    gaps=ENTRIES,
    version=st.just(1),
    more=MORE,
)
LOGS = st.builds(
    Log,
    rtms_stream_id=IDS,
    token=COUNTS,
    n=COUNTS,
    lines=st.dictionaries(st.sampled_from(["events", "transcript", "chat"]), st.lists(TEXTS, max_size=4).map(tuple)),
    version=st.just(1),
)
REVOKED = st.builds(Revoked, rtms_stream_id=IDS, at_ms=TIMES_MS, version=st.just(1))
BEATS = st.builds(
    Beat,
    node=NODES,
    incarnation=RANDOMS,
    n=COUNTS,
    state=st.sampled_from(MemberState),
    streams=COUNTS,
    capacity=COUNTS,
    at_ms=TIMES_MS,
    webhook_ms=st.none() | TIMES_MS,
    zone=TEXTS,
    release=TEXTS,
    version=st.just(1),
)
RECORDS: st.SearchStrategy[Record] = st.one_of(OWNS, ROWS, PARTS, LOGS, REVOKED, BEATS)
KINDS: tuple[type[Any], ...] = (Own, Row, Part, Log, Revoked, Beat)
