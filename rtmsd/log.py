"""structlog, set up once: for a person on a terminal, as JSON, or with fields in systemd's journal.

`rtms_stream_id` and `app` come from `structlog.contextvars`, bound where a task begins with a stream. In each format
secrets, signatures and all of a WebSocket URL but its host are masked, in tracebacks too.
"""

import enum
import functools
import json
import logging
import os
import re
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from rtmsd.masking import MASK, SECRET_TEXTS, masked
from rtmsd.system.journald import JournalSender, is_journal
from rtmsd.terminal import printable

MAX_TEXT_CHARS: Final = 16_384  # of one value; Zoom's texts and tracebacks are far shorter
MIN_SECRET_CHARS: Final = 8  # Zoom's have over 20; a shorter one would mask half of every line

_SECRET_KEY: Final = re.compile(r"secret|signature|token|password|authorization|cookie", re.IGNORECASE)
# With these a participant's name or a hostile server could control a terminal.
_CONTROL_CHARS: Final = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
_CONTROL_CHAR: Final = f"[{re.escape(''.join(map(chr, _CONTROL_CHARS)))}]"
KNOWN_KEYS: Final = 512  # more than there are, with those of Zoom's messages


class LogSettings(Protocol):
    """The `[log]` of a configuration; as a protocol, since `config` stands above this module."""

    @property
    def format(self) -> Literal["auto", "console", "json", "journal"]: ...
    @property
    def level(self) -> str: ...


def configure(config: LogSettings, stream: TextIO | None = None, *, secrets: Collection[str] = ()) -> None:
    """Send all logs, also those of the standard library's `logging`, to `stream`; may be called again after a reload.

    Args:
        stream: the standard error output when left out.
        secrets: texts that are masked wherever they occur.
    """
    stream = stream or sys.stderr
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,  # without local variables: they hold secrets and people's words
            Cleaner(secrets),
            *_FORMATS[_format(config, stream)](stream),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(config.level),
        logger_factory=lambda *_: _Lines(stream),
        cache_logger_on_first_use=False,  # so that a reload reaches loggers that are in use
    )
    _route_standard_logging(config)


def _format(config: LogSettings, stream: TextIO) -> Literal["console", "json", "journal"]:
    if config.format != "auto":
        return config.format
    if is_journal(stream):
        return "journal"
    return "console" if stream.isatty() else "json"


def _console(stream: TextIO) -> list[Processor]:
    colours = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return [
        structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
        _harmless,
        structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=structlog.dev.plain_traceback),
    ]


def _harmless(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Escape what a terminal would act on; a traceback keeps its lines, which `Cleaner` has freed of controls."""
    return {
        printable(key): printable(value) if isinstance(value, str) and key != "exception" else value
        for key, value in event.items()
    }


def _json(_stream: TextIO) -> list[Processor]:
    # Made once: the standard library makes one for each line, as soon as an argument differs from its defaults.
    encode = json.JSONEncoder(default=repr).encode
    return [
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _head_first,
        structlog.processors.JSONRenderer(serializer=lambda event, **_: encode(event)),
    ]


def _journal(stream: TextIO) -> list[Processor]:
    return [JournalSender(), *_json(stream)]  # a line that the journal refuses goes to the stream


_FORMATS: Final = {"console": _console, "json": _json, "journal": _journal}


def _head_first(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {key: event[key] for key in ("timestamp", "level", "event")} | dict(event)


class Cleaner:
    """Masks secrets, and leaves only values that any format can write."""

    def __init__(self, secrets: Collection[str] = ()) -> None:
        long_enough = sorted((s for s in secrets if len(s) >= MIN_SECRET_CHARS), key=len, reverse=True)
        self._secrets = re.compile("|".join(map(re.escape, long_enough))) if long_enough else None
        # Hardly any text has anything to clean, and finding that out is most of the cost of a line.
        self._suspect = re.compile(
            "|".join((_CONTROL_CHAR, *(pattern.pattern for pattern, _ in SECRET_TEXTS), *map(re.escape, long_enough)))
        )
        self._key = functools.lru_cache(KNOWN_KEYS)(self._judge_key)

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return self._mapping(event)

    def _mapping(self, values: Mapping[Any, Any]) -> dict[str, Any]:
        cleaned: dict[str, Any] = {}
        for key, value in values.items():
            text, is_secret = self._key(str(key))
            if is_secret:
                cleaned[text] = MASK
            elif type(value) is str:  # nearly all are, or are plain numbers: half the time of `_value`
                cleaned[text] = self._text(value)
            else:
                cleaned[text] = value if type(value) is int else self._value(value)
        return cleaned

    def _judge_key(self, key: str) -> tuple[str, bool]:
        return self._text(key), _SECRET_KEY.search(key) is not None

    def _value(self, value: object) -> object:
        match value:
            case None | bool() | float():
                return value
            case int():
                return int(value)  # of an IntEnum: the wire's number
            case str():
                return self._text(value)
            case enum.Enum():
                return value.name.lower()
            case Path():
                return self._text(str(value))
            case Mapping():
                return self._mapping(value)
            case list() | tuple() | set() | frozenset():
                return [self._value(item) for item in value]
            case _:
                return self._text(repr(value))

    def _text(self, text: str) -> str:
        if len(text) <= MAX_TEXT_CHARS and not self._suspect.search(text):
            return text
        if self._secrets:
            text = self._secrets.sub(MASK, text)
        text = masked(text)
        if len(text) > MAX_TEXT_CHARS:
            half = MAX_TEXT_CHARS // 2  # a traceback names the error at its end
            text = f"{text[:half]} ... {text[-half:]}"
        return text.translate(_CONTROL_CHARS)


class _Lines:
    """Writes lines to a stream. One that cannot be written is lost: a full disk must not stop the caller."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):  # ValueError: the stream was closed
            pass

    debug = info = warning = error = critical = msg


class _ToStructlog(logging.Handler):
    """Hands the records of libraries (Quart, trio-websocket, httpx) to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        level = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL)
        try:
            structlog.get_logger().log(level, record.getMessage(), logger=record.name, exc_info=record.exc_info)
        except Exception:  # logging's own rule: a record that cannot be formatted is reported, never raised
            self.handleError(record)


def _route_standard_logging(config: LogSettings) -> None:
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _ToStructlog)]:
        root.removeHandler(handler)
    root.addHandler(_ToStructlog())
    root.setLevel(logging.INFO if config.level == "debug" else logging.WARNING)  # libraries log every request
    logging.captureWarnings(True)
