"""Broken and malicious media messages, which a client must count and survive: payloads, and frames against RFC 6455."""

import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, TypeAlias


def _audio(**changes: Any) -> bytes:
    content = {"user_id": 16778240, "user_name": "Eve", "data": "AAAAAA==", "length": 4, "timestamp": 1790000001220}
    return json.dumps({"msg_type": 14, "content": content | changes}, separators=(",", ":")).encode()


MALFORMED: Final[Mapping[str, Callable[[], bytes]]] = {
    "cut_json": lambda: _audio()[:40],
    "empty": lambda: b"",
    "empty_array": lambda: b"[]",
    "null": lambda: b"null",
    "number": lambda: b"14",
    "string": lambda: b'"MEDIA_DATA_AUDIO"',
    "nested_deeply": lambda: b"[" * 100_000,
    "bad_utf8": lambda: _audio().replace(b"Eve", b"\xff\xfe\x80"),
    "bad_base64": lambda: _audio(data="!!!not base64!!!"),
    "length_mismatch": lambda: _audio(length=5),
    "no_data": lambda: json.dumps({"msg_type": 14, "content": {"user_id": 16778240, "timestamp": 1}}).encode(),
    "no_content": lambda: b'{"msg_type":14}',
    "content_is_array": lambda: b'{"msg_type":14,"content":[1,2,3]}',
    "user_id_is_bool": lambda: _audio(user_id=True),
    "user_id_is_float": lambda: _audio(user_id=1.5),
    "user_id_is_object": lambda: _audio(user_id={"id": 1}),
    "data_is_number": lambda: _audio(data=12345),
    "timestamp_is_string": lambda: _audio(timestamp="yesterday"),
    "timestamp_is_absurd": lambda: _audio(timestamp=9_000_000_000_000_000_000),
    "timestamp_is_negative": lambda: _audio(timestamp=-1),
    "msg_type_is_name": lambda: _audio().replace(b"14", b'"MEDIA_DATA_AUDIO"', 1),
    "msg_type_is_unknown": lambda: b'{"msg_type":99,"content":{}}',
    "meta_data": lambda: b'{"msg_type":23,"content":{"language":9}}',
    "no_msg_type": lambda: b'{"content":{}}',
}

MalformedKind: TypeAlias = Annotated[str, MALFORMED]
"""A key of `MALFORMED`."""

HUGE_BYTES: Final = 20 << 20


def huge() -> bytes:
    """Return a well-formed message of 20 MB, which Zoom would not send."""
    return _audio(data="A" * HUGE_BYTES, length=HUGE_BYTES // 4 * 3)


# Whole frames that violate RFC 6455, and the close code a client owes for them.
VIOLATIONS: Final[Mapping[str, tuple[bytes, int]]] = {
    "reserved_bit": (b"\xc1\x02{}", 1002),
    "unknown_opcode": (b"\x83\x02{}", 1002),
    "masked": (b"\x81\x82\x00\x00\x00\x00{}", 1002),
    "long_ping": (b"\x89\x7e\x00\x80" + bytes(128), 1002),
    "lonely_continuation": (b"\x80\x02{}", 1002),
    "fragmented_ping": (b"\x09\x00", 1002),
}

ViolationKind: TypeAlias = Annotated[str, VIOLATIONS]
"""A key of `VIOLATIONS`."""
