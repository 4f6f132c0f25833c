"""The views of the demo, and the items of the daemon shown there."""

import base64
from array import array

import pytest
from rich.console import Console

from rtmsd.demo.scene import Kind, Scene, Voice
from rtmsd.demo.stage import FAST
from rtmsd.demo.view import SMALLEST, Screen, has_room, print_lines
from rtmsd.demo.watch import level_of, take


def text_of(scene: Scene, width: int = 120, height: int = 40) -> str:
    console = Console(width=width, height=height, record=True, quiet=True)
    with console.capture() as captured:
        console.quiet = False
        console.print(Screen(scene, FAST).draw(3.0, height))
    return captured.get()


def test_the_screen_shows_who_talks_what_was_said_and_what_happens() -> None:
    scene = Scene(age_s=lambda: 12.5, daemon_is_up=True)
    scene.voices = {1: Voice("Ana", 0.5, 1000), 2: Voice("Bo", present=False)}
    scene.stream = {
        "state": "recovering",
        "signaling_up": True,
        "links": [{"media": ["audio"], "state": "lost"}],
        "keep_alives": {"signaling": 7, "media": 1},
        "gaps": [{"media": "audio", "cause": "media_reconnect", "to_ms": None}],
        "counters": {"messages": {"audio": 99}, "duplicates": 3, "corrupt": 2, "dropped": 0},
    }
    scene.log(Kind.ACT, "The audio connection breaks.")
    scene.log(Kind.FAULT, "It will be cut.")
    scene.say("Ana", "[bold]no markup[/]")
    shown = text_of(scene)
    for part in ("Ana ████████████····", "left", "recovering", "audio lost", "7 signaling", "99 audio", "corrupt 2"):
        assert part in shown
    for part in (
        "media_reconnect, open",
        "12.5 s",
        "The audio connection breaks.",
        "It will be cut.",
        "[bold]no markup",
    ):
        assert part in shown


def test_the_smallest_screen_shows_all_of_it() -> None:
    scene = Scene(daemon_is_up=True)
    scene.stream = {
        "state": "recovering",
        "signaling_up": True,
        "links": [{"media": ["audio"], "state": "streaming"}, {"media": ["transcript"], "state": "connecting"}],
        "gaps": [{"media": "transcript", "cause": "signaling_reconnect", "to_ms": None}] * 2,
        "counters": {"messages": {"audio": 12345, "transcript": 678}, "duplicates": 99, "corrupt": 20, "dropped": 0},
    }
    scene.log(Kind.NOTE, "The daemon is up.")
    for number in range(9):
        scene.log(Kind.DAEMON, f"event {number}")
        scene.say("Ana", f"sentence {number}")
    shown = text_of(scene, *SMALLEST)
    assert len(shown.splitlines()) == SMALLEST[1]
    for part in ("transcript", "connecting", "gaps: 2", "open", "The daemon is up.", "event 8", "sentence 8"):
        assert part in shown, shown


@pytest.mark.parametrize(
    ("width", "height", "term", "room"),
    [(80, 24, "xterm", True), (79, 24, "xterm", False), (80, 23, "xterm", False), (80, 24, "dumb", False)],
)
def test_there_is_a_screen_only_where_there_is_room_for_it(width: int, height: int, term: str, room: bool) -> None:
    console = Console(width=width, height=height, force_terminal=True, _environ={"TERM": term})
    assert has_room(console) is room
    assert not has_room(Console(width=80, height=24, force_terminal=False))


def test_a_dead_daemon_is_shown_as_dead() -> None:
    assert "no answer on its admin socket" in text_of(Scene())


def test_lines_are_printed_as_they_come() -> None:
    lines: list[str] = []
    scene = Scene(age_s=lambda: 1.0)
    print_lines(scene, lines.append)
    scene.log(Kind.FAULT, "Something will break.")
    scene.say("Ana", "hello")
    assert lines == ["    1.0 s  !! Something will break.", "    1.0 s     Ana: hello"]


def test_the_daemons_items_fill_the_scene() -> None:
    scene = Scene()
    loud = base64.b64encode(array("h", [0, 4500] * 800).tobytes()).decode()
    take(scene, {"media": "audio", "user_id": 1, "user_name": "Ana", "timestamp_ms": 5, "data": loud})
    take(scene, {"media": "transcript", "user_id": 1, "user_name": "Ana", "text": "hello"})
    take(scene, {"media": "events", "kind": "participant_join", "participants": [{"user_id": 2, "user_name": "Bo"}]})
    take(scene, {"media": "events", "kind": "participant_leave", "participants": [{"user_id": 2}, {"user_id": 3}]})
    take(scene, {"media": "events", "kind": "connection", "of": "media", "event_media": ["audio"], "change": "opened"})
    take(scene, {"media": "lost", "frames": 3})
    assert (scene.voices[1].user_name, scene.voices[2].present, scene.said[0].text) == ("Ana", False, "hello")
    assert [line.text for line in scene.lines] == ["media audio connected"]


def test_a_level_is_the_peak_and_never_above_one() -> None:
    assert level_of(b"") == 0
    assert level_of(bytes(320)) == 0
    assert level_of(array("h", [-32768] * 8).tobytes()) == 1
    assert 0.4 < level_of(array("h", [4500] * 8).tobytes() + b"\x00") < 0.6
