"""The actions of scenarios: methods of `SimSession` by name, with arguments read from TOML by their annotations."""

import enum
import inspect
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Final, Literal, TypeAlias, get_args, get_origin

import attrs

from rtmsd.protocol.enums import MediaType
from rtmsd.protocol.media_types import NAMES
from rtmsd.simulator.stream.session import SimSession

Arguments: TypeAlias = dict[str, Any]

_MEDIA: Final = {name: bit for bit, name in NAMES.items()} | {"deskshare": MediaType.DESKSHARE}

ACTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    method.__name__: method
    for method in (
        *(SimSession.join, SimSession.leave, SimSession.talk, SimSession.hush, SimSession.mute),
        *(SimSession.say, SimSession.chat, SimSession.pause, SimSession.resume, SimSession.stop),
        *(SimSession.revise, SimSession.retract, SimSession.edit_chat, SimSession.delete_chat, SimSession.react),
        *(SimSession.chat_group, SimSession.camera, SimSession.share, SimSession.stop_sharing),
        *(SimSession.refuse_video, SimSession.ignore_video),
        *(SimSession.cut_media, SimSession.cut_signaling, SimSession.interrupt, SimSession.failover),
        *(SimSession.silence, SimSession.stall, SimSession.refuse_next, SimSession.withhold_keep_alives),
        SimSession.answer_with,
        *(SimSession.duplicate_webhook, SimSession.forged_webhook, SimSession.write_as, SimSession.binary_frames),
        *(SimSession.voice_event, SimSession.code_event, SimSession.transfer, SimSession.post_message),
        *(SimSession.rtp_jump, SimSession.rtp_restart),
        *(SimSession.repeat_audio, SimSession.malformed_frames, SimSession.huge_frame, SimSession.violate_websocket),
    )
}


def read_arguments(action: str, written: Mapping[str, Any]) -> Arguments:
    """Return the arguments for `ACTIONS[action]`, enums by name, people and dialects from tables.

    Raises:
        ValueError: no such action, an unknown or missing argument, or a wrong value.
    """
    if action not in ACTIONS:
        raise ValueError(f"no action {action!r}{did_you_mean(action, ACTIONS)}")
    signature = inspect.signature(ACTIONS[action], eval_str=True)
    wanted = [parameter for name, parameter in signature.parameters.items() if name != "self"]
    for name in written:
        if name not in signature.parameters or name == "self":
            raise ValueError(f"{action}: no argument {name!r}{did_you_mean(name, [p.name for p in wanted])}")
    for parameter in wanted:
        if parameter.default is parameter.empty and parameter.name not in written:
            raise ValueError(f"{action}: {parameter.name} is missing")
    return {p.name: _read(f"{action}: {p.name}", p.annotation, written[p.name]) for p in wanted if p.name in written}


def read_table(where: str, attrs_class: type[Any], table: Mapping[str, Any]) -> Any:
    """Return an instance of an attrs class from a TOML table.

    Raises:
        ValueError: an unknown key, a missing one, or a value of the wrong type.
    """
    fields = {field.name: field for field in attrs.fields(attrs.resolve_types(attrs_class))}
    for name in table:
        if name not in fields:
            raise ValueError(f"{where}: no key {name!r}{did_you_mean(name, fields)}")
    try:
        return attrs_class(
            **{name: _read(f"{where}.{name}", fields[name].type, value) for name, value in table.items()}
        )
    except TypeError as exc:
        raise ValueError(f"{where}: {exc}") from None


def read_media(where: str, value: object) -> MediaType:
    """Return the media type of a name as the configuration spells it; `deskshare` is Zoom's name for `share`.

    Raises:
        ValueError: no such media; the nearest name is given.
    """
    name = str(value).lower()
    if name not in _MEDIA:
        raise ValueError(f"{where}: no media {name!r}{did_you_mean(name, _MEDIA)}")
    return _MEDIA[name]


def did_you_mean(wrong: str, right: Sequence[str] | Mapping[str, Any]) -> str:
    near = get_close_matches(wrong, list(right), n=1)
    return f", did you mean {near[0]!r}?" if near else f"; there are {', '.join(sorted(right))}"


def _read(where: str, kind: Any, value: Any) -> Any:
    """Return `value` as one of the types that `kind` allows."""
    if get_origin(kind) is Annotated:  # with the table whose key it is
        table = get_args(kind)[1]
        if value not in table:
            raise ValueError(f"{where}: no {value!r}{did_you_mean(str(value), table)}")
        return value
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise ValueError(f"{where}: {value!r} is not one of {', '.join(map(str, get_args(kind)))}")
        return value
    if kind is MediaType:
        return read_media(where, value)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _member(where, kind, value)
    if isinstance(kind, type) and attrs.has(kind):
        return read_table(where, kind, value) if isinstance(value, Mapping) else _must_be(where, "a table", value)
    if kind is float:
        return float(value) if type(value) in (int, float) else _must_be(where, "a number", value)
    if kind in (bool, int, str):
        return value if type(value) is kind else _must_be(where, kind.__name__, value)
    if get_origin(kind) is Mapping:
        return value if isinstance(value, Mapping) else _must_be(where, "a table", value)
    if get_origin(kind) is Sequence:
        [item_kind] = get_args(kind)
        items = value if isinstance(value, list) else _must_be(where, "a list", value)
        return tuple(_read(where, item_kind, item) for item in items)
    return _read_any(where, get_args(kind), value)


def _read_any(where: str, kinds: Sequence[Any], value: Any) -> Any:
    """Return `value` as the first of several types that accepts it."""
    mistakes = []
    for kind in kinds:
        try:
            return _read(where, kind, value)
        except ValueError as exc:
            mistakes.append(str(exc))
    raise ValueError(mistakes[0] if mistakes else f"{where}: cannot be given here")


def _member(where: str, kind: type[enum.Enum], value: Any) -> enum.Enum:
    for member in kind:
        if value in (member.name, member.name.lower(), member.value):
            return member
    raise ValueError(f"{where}: no {kind.__name__} {value!r}{did_you_mean(str(value), kind.__members__)}")


def _must_be(where: str, what: str, value: Any) -> Any:
    raise ValueError(f"{where}: must be {what}, not {type(value).__name__}")
