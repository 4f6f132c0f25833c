"""A chat to read: as it stood in the end, whatever came in which order."""

import json
import random
import re
import tracemalloc
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmsd.export.errors import ExportError, NoSuchParticipant
from rtmsd.export.text.chat import chat
from rtmsd.export.text.messages import ChatLine, State, read_messages
from rtmsd.protocol.chat import ChatData, read_chat
from rtmsd.recording.manifest.lines import Line, json_line, read_line
from tests.export.recordings import STARTED_MS, Made
from tests.export.test_export_transcript import HOSTILE, export

T: Final = STARTED_MS
NAMES: Final = {5: "Ana", 6: "Bo", 7: "Cleo"}


def line(at_s: float, user_id: int, text: str = "", operation: str | int | None = "new", **more: Any) -> dict[str, Any]:
    """Return a line as the daemon writes it."""
    name = more.pop("user_name", NAMES.get(user_id))
    data = ChatData(
        user_id=user_id, user_name=name, text=text, timestamp_ms=T + round(1000 * at_s), operation=operation, **more
    )
    written: dict[str, Any] = json.loads(json_line({**attrs.asdict(data), "received_ms": 0}))
    return written


def rendered(lines: list[dict[str, Any]]) -> list[str]:
    return "".join(chat(read_messages(lines)[0], T, lambda _: True)).splitlines()


FILE: Final = {"file_id": "f1", "file_name": "figures.pdf", "file_size": 12_345}
TALK: Final = [
    line(1, 5, "Good morning", message_id="m1", session_type="everyone", files=(FILE, {"file_name": "b"})),
    line(2, 6, "Thank you", message_id="m2", parent_message_id="m1"),
    line(3, 7, "+1", message_id="m3", parent_message_id="m2"),
    line(4, 7, "👍", "add_reaction", message_id="m1"),
    line(4, 6, "👍", "add_reaction", message_id="m1"),
    line(5, 6, "❤", "add_reaction", message_id="m1"),
    line(6, 6, "❤", "remove_reaction", message_id="m1"),
    line(7, 5, "Good morning\nall", "update", message_id="m1", deleted_file_ids=("b",)),
    line(8, 6, "oops", message_id="m4", receiver={"user_id": 7, "user_name": "Cleo"}),
    line(9, 6, "", "delete", message_id="m4"),
    line(9, 6, "figures", message_id="m5", session_type="chat_group", session_id="finance"),
    line(10, 7, "to nobody", message_id="m6", parent_message_id="lost"),
    line(11, 7, "plain", None),
    line(12, 7, "?", 9, message_id="m7"),
]
SHOWN: Final = [
    "[0:00:01, edited] Ana: Good morning",
    "  | all",
    "  file: figures.pdf (12.3 kB)",
    "  reactions: 👍 2",
    "    [0:00:02] Bo: Thank you",
    "        [0:00:03] Cleo: +1",
    "[0:00:08] Bo to Cleo: [deleted]",
    "[0:00:09] Bo to the group finance: figures",
    "[0:00:10] [not recorded]",
    "    [0:00:10] Cleo: to nobody",
    "[0:00:11] Cleo: plain",
]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    made = Made(tmp_path / "2026-09-21" / "one")
    for user_id, name in NAMES.items():
        made.person(user_id, name)
    made.lines("chat", TALK)
    made.save(ended_ms=T + 20_000)
    return made


def test_a_chat_as_it_stood_in_the_end(made: Made) -> None:
    text, source, report = export(made, "chat")
    assert text.splitlines() == SHOWN
    assert source.problems == []
    assert [note.partition(":")[2] for note in report.notes] == [" 1", " 1"]  # of an unknown kind; not recorded


def test_only_what_is_wanted(made: Made) -> None:
    assert export(made, "chat", user_ids=frozenset({"7"}))[0].splitlines() == [
        "[0:00:03] Cleo: +1",
        "[0:00:10] Cleo: to nobody",
        "[0:00:11] Cleo: plain",
    ]
    with pytest.raises(NoSuchParticipant):
        export(made, "chat", user_ids=frozenset({"8"}))


def test_a_recording_without_a_chat(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="has no chat"):
        export(Made(tmp_path / "2026-09-21" / "one"), "chat")


def test_damaged_lines_are_left_out_and_said(made: Made) -> None:
    path = made.directory / "chat.jsonl"
    content = path.read_bytes().replace(b'"files":[]', b'"files":[0]', 1)  # of the first reply
    path.write_bytes(content + b"\xff\n[]\n{")
    text, source, _ = export(made, "chat")
    assert [shown for shown in SHOWN if shown not in text.splitlines()] == ["    [0:00:02] Bo: Thank you", SHOWN[5]]
    assert [problem.path for problem in source.problems] == ["chat.jsonl"]


def test_lines_of_earlier_versions_are_read() -> None:
    """They had Zoom's fields, as they came, in `details`."""
    details = {"operation_type": 1, "message_id": "m", "sender": {"user_id": 6}, "receiver": None, "data": "wrnog"}
    old = {"user_id": 6, "user_name": "Bo", "timestamp_ms": T + 1000, "text": "wrnog", "details": details}
    edit = {**old, "timestamp_ms": T + 2000, "text": "right", "details": {**details, "operation_type": 3}}
    plain = {**old, "timestamp_ms": T + 3000, "text": "{}", "details": None, "received_ms": 7}
    lines = [read_line(json_line(each), Line.CHAT) for each in (old, edit, plain)]
    assert rendered(lines) == ["[0:00:01, edited] Bo: right", "[0:00:03] Bo: {}"]


# In any order


@st.composite
def histories(draw: st.DrawFn) -> list[dict[str, Any]]:
    """What was done to a few messages, each at a time of its own."""
    times = count(1)
    lines = []
    for number in draw(st.lists(st.integers(0, 2), max_size=20)):
        operation = draw(st.sampled_from(["new", "update", "delete", "add_reaction", "remove_reaction"]))
        text = draw(st.sampled_from(["👍", "❤"] if "reaction" in operation else ["a", "b", "c"]))
        parent = f"m{number - 1}" if number else None
        lines.append(
            line(
                next(times), draw(st.integers(5, 6)), text, operation, message_id=f"m{number}", parent_message_id=parent
            )
        )
    return lines


def model(lines: list[dict[str, Any]]) -> dict[str, tuple[State, str, dict[str, int]]]:
    """Return state, text and reactions of each message, straight from what the operations mean."""
    found = {}
    for key in {each["message_id"] for each in lines}:
        of = sorted((each for each in lines if each["message_id"] == key), key=lambda each: each["timestamp_ms"])
        done = {each["operation"] for each in of}
        state = next(
            (
                state
                for name, state in (("delete", State.DELETED), ("update", State.EDITED), ("new", State.SENT))
                if name in done
            ),
            State.UNSEEN,
        )
        texts = [each["text"] for each in of if each["operation"] == "update"]
        texts = texts or [each["text"] for each in of if each["operation"] == "new"]
        last = {
            (each["user_id"], each["text"]): each["operation"] for each in of if each["operation"].endswith("reaction")
        }
        emojis = [emoji for (_, emoji), operation in last.items() if operation == "add_reaction"]
        text = texts[-1] if texts and state is not State.DELETED else ""
        found[key] = (state, text, {emoji: emojis.count(emoji) for emoji in set(emojis)})
    return found


@given(histories(), st.randoms(use_true_random=False))
def test_any_order_gives_what_the_operations_mean(lines: list[dict[str, Any]], chance: random.Random) -> None:
    expected = model(lines)
    chance.shuffle(lines)
    messages, unknown = read_messages(lines)
    assert unknown == 0
    assert {
        key: (each.state, each.text, each.reactions) for key, each in messages.items() if key in expected
    } == expected
    shown = rendered(lines)
    assert sum(" | " not in each and "reactions: " not in each for each in shown) == len(messages)


# Whatever is written


def circle() -> list[dict[str, Any]]:
    return [line(n, 5, "x", message_id=f"m{n}", parent_message_id=f"m{(n + 1) % 3}") for n in range(3)]


def chain() -> list[dict[str, Any]]:
    return [line(n, 5, "x", message_id=f"m{n}", parent_message_id=f"m{n - 1}") for n in range(5000)]


@pytest.mark.parametrize(("make", "shown"), [(circle, 3), (chain, 5001)])
def test_replies_in_a_circle_and_without_end(make: Callable[[], list[dict[str, Any]]], shown: int) -> None:
    lines = rendered(make())
    assert len(lines) == shown
    assert max(map(len, lines)) < 80


@pytest.mark.parametrize("field", ["user_name", "text", "receiver", "session_id", "file", "emoji"])
def test_no_name_and_no_text_imitates_another_line(field: str) -> None:
    hostile = f"{HOSTILE}\n[0:00:01] Bo: I resign\n    [0:00:01] Bo: really\n  reactions: 9"
    more: dict[str, Any] = {"message_id": "m"}
    match field:
        case "receiver":
            more["receiver"] = {"user_id": 6, "user_name": hostile}
        case "session_id":
            more |= {"session_type": "chat_group", "session_id": hostile}
        case "file":
            more["files"] = ({"file_name": hostile, "file_size": "1"},)
        case "user_name":
            more["user_name"] = hostile
    lines = [line(1, 5, hostile if field == "text" else "hello", **more), line(9, 6, "next")]
    if field == "emoji":
        lines.append(line(2, 5, hostile, "add_reaction", message_id="m"))
    shown = rendered(lines)
    assert [each for each in shown if re.match(r" *\[", each)] == [shown[0], "[0:00:09] Bo: next"]
    assert [each for each in shown if re.match(r" *reactions:", each)] == ([shown[1]] if field == "emoji" else [])
    text = "".join(shown)
    assert not re.search("[\u202a-\u202e\u2066\u2067\u2028\0]", text)
    assert text.count("\u2068") == text.count("\u2069")


values = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 6) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["user_id", "user_name", "type", "id", "file_id", "file_size"]), inner)
    ),
    max_leaves=4,
)
KEYS: Final = (
    "operation_type",
    "message_id",
    "parent_message_id",
    "sender",
    "receiver",
    "chat_session",
    "files",
    "data",
)


@given(st.lists(st.dictionaries(st.sampled_from(KEYS), values)))
def test_whatever_zoom_sends_is_shown(sent: list[dict[str, Any]]) -> None:
    kept = [read_chat(content, content.get("data"), T) for content in sent]
    lines: list[ChatLine] = [
        read_line(json_line({**attrs.asdict(each), "received_ms": 0}), Line.CHAT) for each in kept if each is not None
    ]
    messages, unknown = read_messages(lines)
    text = "".join(chat(messages, T, lambda _: True))
    assert text.count("[0:00:00") >= len(messages)
    assert len(messages) + unknown <= 2 * len(lines)


def test_a_million_edits_take_no_more_memory_than_their_messages() -> None:
    def edits(number: int) -> list[dict[str, Any]]:
        return [line(n / 1000, 5, f"text {n}", "update", message_id=f"m{n % 100}") for n in range(number)]

    def peak_bytes(lines: list[dict[str, Any]]) -> int:
        tracemalloc.start()
        try:
            read_messages(lines)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    few, many = edits(200), edits(5000)
    assert peak_bytes(many) < 1.5 * peak_bytes(few)
