"""Manifests that somebody cut, edited or made for something else: named as a problem, and never taken for more."""

import copy
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtmsd.recording.repair import repair
from rtmsd.recording.verify import verify

AUDIO, VIDEO = frozenset({"audio"}), frozenset({"video"})
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["audio", "ended", "a" * 300, "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
EXAMPLES = settings(max_examples=150, deadline=None)


async def recording(studio: Any, tools: Any, *, is_over: bool) -> Path:
    """With something in every list of its manifest."""
    T = tools.T
    recorder = await studio.open()
    recorder.connected("signaling", frozenset())
    number = recorder.connected("media", AUDIO)
    recorder.connected("media", VIDEO)
    recorder.audio(5, "Ana", T, tools.packet(0))
    recorder.video(5, "Ana", T, b"picture")
    recorder.lost(number, "media_reconnect", "reset")
    recorder.connected("media", AUDIO)
    recorder.heard(T + 400)
    recorder.audio(5, "Ana", T + 400, tools.packet(20))
    recorder.paused(T + 500)
    recorder.resumed(T + 600)
    if is_over:
        recorder.ended(6, T + 700)
        await recorder.finish()
    else:
        await recorder.flush()
    assert all(tools.manifest(recorder)[name] for name in ("participants", "files", "gaps", "connections", "pauses"))
    directory: Path = recorder.directory
    return directory


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where there is anything, at whatever depth."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


@st.composite
def odd(draw: Any, sound: dict[str, Any]) -> Any:
    """A manifest of which up to three things were taken out or replaced."""
    manifest = copy.deepcopy(sound)
    for _ in range(draw(st.integers(1, 3))):
        there = list(places(manifest))
        if there:
            *path, last = draw(st.sampled_from(there))
            owner: Any = manifest
            for key in path:
                owner = owner[key]
            if draw(st.booleans()):
                del owner[last]
            else:
                owner[last] = draw(ANYTHING)
    return manifest


@pytest.mark.parametrize("is_over", [True, False])
async def test_verify_and_repair_take_any_manifest(studio: Any, tools: Any, is_over: bool) -> None:
    directory = await recording(studio, tools, is_over=is_over)
    assert verify(directory) == []

    @EXAMPLES
    @given(odd(json.loads((directory / "stream.json").read_bytes())), st.booleans())
    def try_out(manifest: Any, is_headless: bool) -> None:
        with tempfile.TemporaryDirectory() as elsewhere:
            place = Path(shutil.copytree(directory, Path(elsewhere) / "stream%2F1"))
            (place / "stream.json").write_text(json.dumps(manifest))
            if is_headless:
                with (place / "audio/5.wav").open("r+b") as file:
                    file.write(b"?")
            assert all(isinstance(str(problem), str) for problem in verify(place))
            repair(place)
            verify(place)
            assert [line for line in repair(place) if "cannot be mended" not in line] == []

    try_out()


@given(ANYTHING)
def test_whatever_else_is_called_stream_json_is_named_and_left_alone(content: Any) -> None:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "stream.json"
        path.write_text(json.dumps(content))
        before = path.read_bytes()
        [problem] = verify(Path(place))
        assert problem.path == "stream.json"
        assert problem.detail.startswith("not a manifest of rtmsd: ")
        assert repair(Path(place)) == ["stream.json: no manifest of rtmsd, and nothing here to make one from"]
        assert path.read_bytes() == before
        assert len(list(Path(place).iterdir())) == 1


async def test_a_gap_without_its_start_is_named(studio: Any, tools: Any) -> None:
    directory = await recording(studio, tools, is_over=True)
    path = directory / "stream.json"
    manifest = json.loads(path.read_bytes())
    del manifest["gaps"][0]["from_ms"]
    path.write_text(json.dumps(manifest))
    [problem] = verify(directory)
    assert (problem.path, problem.detail.partition(": ")[0]) == ("stream.json", "not a manifest of rtmsd")
    assert "`from_ms`" in problem.detail
    assert "$.gaps[0]" in problem.detail or "$.gaps[...]" in problem.detail
    done = repair(directory)
    assert done[0] == "stream.json: no manifest of rtmsd, set aside as stream.json.damaged"
    assert json.loads((directory / "stream.json.damaged").read_bytes()) == manifest
    assert verify(directory) == []


def test_json_too_deep_to_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "stream.json").write_text("[" * 100_000)
    [problem] = verify(tmp_path)
    assert problem.detail.startswith("not readable")
    assert repair(tmp_path)
