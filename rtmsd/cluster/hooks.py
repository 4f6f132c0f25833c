"""Webhooks as one member hands them to another: commands and verdicts as JSON, read as strictly as a webhook. Pure."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from rtmsd.cluster.engine import EngineError
from rtmsd.commands import InterruptStream, StartStream, StopStream, StreamCommand, Verdict
from rtmsd.protocol.addresses import websocket_url
from rtmsd.protocol.products import PRODUCTS
from rtmsd.protocol.times import LATEST_MS

MAX_BYTES: Final = 131_072  # of a command: twice what a webhook may have
MAX_DEPTH: Final = 16  # of details in each other: those of a webhook have 8

_KINDS: Final[Mapping[str, type[StreamCommand]]] = {
    "start": StartStream,
    "stop": StopStream,
    "interrupt": InterruptStream,
}
_NAMES: Final = {command: kind for kind, command in _KINDS.items()}
_NOT_MINE: Final = "not_mine"


class BadHook(EngineError):
    """What another member sent is no command, or no verdict. The text names keys, never their content."""


def encode_command(command: StreamCommand) -> bytes:
    return msgspec.json.encode({"kind": _NAMES[type(command)], "command": msgspec.to_builtins(command)})


def decode_command(data: bytes) -> StreamCommand:
    """Read a command.

    Raises:
        BadHook: it is not one that a webhook could have made.
    """
    if len(data) > MAX_BYTES:
        raise BadHook(f"the command has more than {MAX_BYTES} bytes")
    try:
        plain = msgspec.json.decode(data, type=dict[str, Any])
        kind = _KINDS[plain["kind"]]
        command = msgspec.convert(plain["command"], kind)
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise BadHook(f"the command cannot be read: {type(error).__name__}") from None
    _check(command)
    return command


def _check(command: StreamCommand) -> None:
    product = PRODUCTS.get(command.product)
    if product is None:
        raise BadHook("product is not known to this version")
    if command.session.key not in product.id_keys:
        raise BadHook("session has no key of its product")
    if not command.rtms_stream_id or not command.app:
        raise BadHook("rtms_stream_id or app is empty")
    if command.event_ts is not None and not 0 <= command.event_ts < LATEST_MS:
        raise BadHook("event_ts is not a time")
    match command:
        case StopStream() if not 0 <= command.stop_reason < 2**63:
            raise BadHook("stop_reason is out of range")
        case StartStream() if not command.session.id:
            raise BadHook("session.id is empty")
        case StartStream() if not _is_plain(command.details, MAX_DEPTH):
            raise BadHook("details is nested too deeply, or has too large a number")
        case StartStream() | InterruptStream(server_urls=str()) if websocket_url(command.server_urls) is None:
            raise BadHook("server_urls is not a wss:// URL")


def _is_plain(value: object, depth: int) -> bool:
    """Whether SQLite can hold it and a manifest, too."""
    if isinstance(value, Mapping | list):
        inner = value.values() if isinstance(value, Mapping) else value
        return depth > 0 and all(_is_plain(each, depth - 1) for each in inner)
    return not isinstance(value, int) or abs(value) < 2**63


def encode_verdict(verdict: Verdict | None) -> bytes:
    """Write an answer; None: the stream is another member's."""
    return (_NOT_MINE if verdict is None else verdict.value).encode()


def decode_verdict(data: bytes) -> Verdict | None:
    """Read an answer.

    Raises:
        BadHook: it is none.
    """
    try:
        text = data.decode("ascii")
        return None if text == _NOT_MINE else Verdict(text)
    except ValueError:
        raise BadHook("the answer is not a verdict") from None
