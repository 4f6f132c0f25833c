"""Log lines: their formats, their destinations, and what is masked in them."""

import io
import json
import logging
import socket
import warnings
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

import attrs
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from rtmsd.config import LogConfig
from rtmsd.log import MAX_TEXT_CHARS, Cleaner, configure
from rtmsd.protocol.enums import StopReason
from rtmsd.system.journald import JournalSender, encode, is_journal, message_id

SECRET = "kZ8-very-secret-indeed"
SIGNATURE = "7823575a1ae4e9a7e456d8697174184b439d07c2719e6ebd2eb276dfb122e2f1"


@pytest.fixture(autouse=True)
def default_logging() -> Iterator[None]:
    """Leave structlog and `logging` as they were found."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def json_lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def clean(**values: object) -> dict[str, object]:
    return dict(Cleaner([SECRET])(None, "info", dict(values)))


# Formats


def test_json_with_the_context_of_the_task() -> None:
    stream = io.StringIO()
    configure(LogConfig(), stream)
    with structlog.contextvars.bound_contextvars(rtms_stream_id="9f2c", app="main"):
        structlog.get_logger().info("stream ended", reason=StopReason.MEETING_ENDED, user_name="Zoë")
    (line,) = json_lines(stream)
    assert list(line)[:3] == ["timestamp", "level", "event"]
    assert str(line.pop("timestamp")).endswith("Z")
    assert line == {
        "level": "info",
        "event": "stream ended",
        "rtms_stream_id": "9f2c",
        "app": "main",
        "reason": 6,
        "user_name": "Zoë",
    }


def test_console_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured, plain = Terminal(), Terminal()
    configure(LogConfig(), coloured)
    structlog.get_logger().info("stream ended", app="main")
    monkeypatch.setenv("NO_COLOR", "1")
    configure(LogConfig(), plain)
    structlog.get_logger().info("stream ended", app="main")
    assert "\x1b[" in coloured.getvalue()
    assert "\x1b[" not in plain.getvalue()
    assert "stream ended" in plain.getvalue()
    assert "app=main" in plain.getvalue()


def test_a_configured_console_has_no_colour_in_a_file() -> None:
    stream = io.StringIO()
    configure(LogConfig(format="console"), stream)
    structlog.get_logger().warning("stream failed")
    assert "[warning" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_level_and_its_change_reach_loggers_in_use() -> None:
    stream = io.StringIO()
    log = structlog.get_logger()
    configure(LogConfig(level="warning"), stream)
    log.info("not said")
    configure(LogConfig(level="debug"), stream)
    log.debug("said")
    assert [line["event"] for line in json_lines(stream)] == ["said"]


# Libraries


def test_the_logs_of_libraries_are_included() -> None:
    stream = io.StringIO()
    configure(LogConfig(), stream)
    configure(LogConfig(), stream)  # twice, as by a reload, makes no line double
    logging.getLogger("hypercorn.error").info("Running on %s", "http://127.0.0.1:8080")
    logging.getLogger("hypercorn.error").warning("Forced shutdown of %s", SIGNATURE)
    logging.getLogger("quart.app").log(35, "odd level")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("outdated", DeprecationWarning, stacklevel=1)
    first, second, third = json_lines(stream)
    assert (first["event"], first["level"], first["logger"]) == (
        "Forced shutdown of ***",
        "warning",
        "hypercorn.error",
    )
    assert second["event"] == "odd level"
    assert third["logger"] == "py.warnings"


def test_a_traceback_of_a_library() -> None:
    stream = io.StringIO()
    configure(LogConfig(), stream)
    try:
        int(SIGNATURE)
    except ValueError:
        logging.getLogger("quart.app").exception("Exception on request")
    (line,) = json_lines(stream)
    assert "invalid literal for int() with base 10: '***'" in str(line["exception"])


def test_a_record_that_cannot_be_formatted_is_reported_and_not_raised(capsys: pytest.CaptureFixture[str]) -> None:
    configure(LogConfig(), io.StringIO())
    record = logging.LogRecord("quart.app", logging.ERROR, __file__, 1, "%s and %s", ("one",), None)
    logging.getLogger().handlers[-1].emit(record)
    assert "not enough arguments for format string" in capsys.readouterr().err


# Trouble


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_stream_that_cannot_be_written_is_no_error() -> None:
    configure(LogConfig(), Broken())
    structlog.get_logger().error("stream failed")
    closed = io.StringIO()
    configure(LogConfig(format="json"), closed)
    closed.close()
    structlog.get_logger().error("stream failed")


# What never stands in a log


@attrs.frozen
class Credentials:
    client_secret: str


def test_secrets_are_masked_wherever_they_occur() -> None:
    cleaned = clean(
        event=f"started with {SECRET}",
        client_secret="short",
        plain_token="short",
        header=f"v0={SIGNATURE}",
        auth="Authorization: Bearer abc.def",
        jwt="eyJhbGciOi.eyJpc3Mi.c2ln",
        url="wss://user:pass@rtms.zoom.us:443/path?token=abc",
        said="see wss://rtms.zoom.us/a/b, please",
        nested={"items": [SECRET, {"signature": "abc"}]},
        thing=Credentials(SECRET),
        raw=SECRET.encode(),
    )
    assert cleaned == {
        "event": "started with ***",
        "client_secret": "***",
        "plain_token": "***",
        "header": "v0=***",
        "auth": "Authorization: Bearer ***",
        "jwt": "***",
        "url": "wss://rtms.zoom.us:443",
        "said": "see wss://rtms.zoom.us please",
        "nested": {"items": ["***", {"signature": "***"}]},
        "thing": "Credentials(client_secret='***')",
        "raw": "b'***'",
    }


def test_ids_and_numbers_stay_as_they_are() -> None:
    values = {"rtms_stream_id": "9f2c4e6a8b0d4f1e9a7c5b3d1f0e2a4c", "n": 1, "rate": 0.5, "live": True, "none": None}
    assert clean(**values) == values


def test_a_traceback_shows_no_local_variables() -> None:
    for stream in (io.StringIO(), Terminal()):
        configure(LogConfig(), stream)
        try:
            participants_words = "said in confidence"
            int(participants_words[:4])
        except ValueError:
            structlog.get_logger().exception("stream crashed")
        assert "base 10: 'said'" in stream.getvalue()
        assert "in confidence" not in stream.getvalue()


def test_a_name_cannot_control_the_terminal() -> None:
    assert clean(user_name="A\x1b[2J\r\x07\x9bZ\n") == {"user_name": "A\\x1b[2J\\x0d\\x07\\x9bZ\n"}


@given(
    before=st.text(max_size=20),
    hidden=st.sampled_from(
        [SECRET, "\x1b", "\x9b", f" {SIGNATURE} ", " eyJh.eyJp.c2 ", " BEARER abc ", " Wss://h/path "]
    ),
    after=st.text(max_size=20),
)
def test_nothing_hides_between_other_characters(before: str, hidden: str, after: str) -> None:
    """Whether there is anything to clean is seen at a glance first: the glance must not miss what cleaning finds."""
    for cleaned in (clean(text=before + hidden + after), clean(**{before + hidden + after: "said"})):
        assert all(hidden not in text for text in (*cleaned, *map(str, cleaned.values())))


def test_a_long_text_keeps_both_ends() -> None:
    text = str(clean(text=f"begin{'.' * 100_000}end")["text"])
    assert text.startswith("begin.")
    assert text.endswith(".end")
    assert len(text) < MAX_TEXT_CHARS + 10


class Mood(Enum):
    CALM = 1


def test_values_any_format_can_write() -> None:
    assert clean(mood=Mood.CALM, path=Path("/a/b"), pair=(1, Path("c"))) == {
        "mood": "calm",
        "path": "/a/b",
        "pair": [1, "c"],
    }


def test_short_secrets_mask_nothing() -> None:
    assert dict(Cleaner(["s"])(None, "info", {"event": "stream"})) == {"event": "stream"}


# The journal


def fields_of(datagram: bytes) -> dict[str, str]:
    """Read a datagram as journald does: NAME=value lines, or NAME, a little-endian length and the value."""
    fields: dict[str, str] = {}
    while datagram:
        line, _, datagram = datagram.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            length = int.from_bytes(datagram[:8], "little")
            value, datagram = datagram[8 : 8 + length], datagram[8 + length + 1 :]
        fields[name.decode()] = value.decode()
    return fields


def test_fields_of_the_journal() -> None:
    event = {
        "event": "stream state",
        "level": "warning",
        "rtms_stream_id": "9f2c",
        "app": "main",
        "state": "recovering",
        "user name": "A\nB",
        "cause": None,
    }
    assert fields_of(encode(event)) == {
        "MESSAGE": "stream state rtms_stream_id=9f2c app=main state=recovering user name=A\nB",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "rtmsd",
        "MESSAGE_ID": message_id("stream state"),
        "RTMS_STREAM_ID": "9f2c",
        "RTMS_APP": "main",
        "RTMS_STATE": "recovering",
        "RTMS_USER_NAME": "A\nB",
    }


def test_the_id_of_a_kind_of_event_never_changes() -> None:
    assert message_id("stream ended") == "bfaa6f8825a8510e8bbd0c13fc9dd7cb"


def test_a_value_cannot_forge_a_field() -> None:
    fields = fields_of(encode({"event": "x", "level": "info", "user_name": "A\nPRIORITY=0\n"}))
    assert fields["PRIORITY"] == "6"


def test_events_reach_the_journal(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(tmp_path / "socket"))
        journal.settimeout(5)
        with pytest.raises(structlog.DropEvent):
            JournalSender(str(tmp_path / "socket"))(None, "info", {"event": "stream ended", "level": "info"})
        assert fields_of(journal.recv(65536))["MESSAGE"] == "stream ended"


def test_without_a_journal_the_stream_gets_the_line(tmp_path: Path) -> None:
    event = {"event": "stream ended", "level": "info"}
    assert JournalSender(str(tmp_path / "none"))(None, "info", event) is event


def test_the_journal_is_known_by_device_and_inode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "stderr").open("w") as stream:
        status = (tmp_path / "stderr").stat()
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        assert is_journal(stream)
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino + 1}")
        assert not is_journal(stream)
    assert not is_journal(io.StringIO())
