"""Messages on signaling whose fields have names of ours."""

from typing import Any
from unittest.mock import Mock

from rtmsd.protocol.messages import EventUpdate
from rtmsd.streams.incoming import on_message


def test_an_event_with_our_own_field_names_is_written_down() -> None:
    lines: list[tuple[str, dict[str, Any]]] = []

    class Recorder(Mock):
        def event(self, kind: str, zoom_ms: int | None, **fields: Any) -> None:
            lines.append((kind, fields))

    stream = Mock(product="session", recorder=Recorder())
    on_message(stream, EventUpdate(event_type=2, details={"event_type": 2, "kind": 1, "self": 2, "at_ms": 3}))
    assert lines == [("active_speaker_change", {"zoom_kind": 1, "zoom_self": 2, "zoom_at_ms": 3})]
