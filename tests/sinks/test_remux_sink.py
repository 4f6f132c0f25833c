"""The sink of `recording.remux`, which runs the real rtmsctl on real recordings."""

import os
from pathlib import Path
from typing import Any

import pytest

from rtmsd.config import ExecConfig, load
from rtmsd.config.sinks import RemuxConfig
from rtmsd.sinks.base import Recording, TryAgain, Unusable
from rtmsd.sinks.exec import ExecSink
from rtmsd.sinks.registry import build
from rtmsd.sinks.remux import RemuxSink
from rtmsd.state.deliveries import DeliveryEvent
from tests.export.filmed import Sent, add_pictures, h264, see, still
from tests.export.recordings import Made

ENVIRONMENT = {"PATH": os.environ["PATH"]}
CONFIG = """
[[app]]
client_id = "id"
client_secret = { value = "secret" }
webhook_secret = { value = "other" }
[recording]
remux = "%s"
"""


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path / "one")


def recording(made: Made, event: DeliveryEvent = DeliveryEvent.FINISHED) -> Recording:
    return Recording(event=event, rtms_stream_id="one", directory=made.directory)


def sink(form: str = "mkv") -> RemuxSink:
    return RemuxSink(RemuxConfig(formats={"main": form}), ENVIRONMENT)


@pytest.mark.parametrize("form", ["mkv", "mp4"])
async def test_a_finished_recording_gets_its_films_again_and_again(made: Made, form: str) -> None:
    add_pictures(made, "video/5.h264", [Sent(40 * n, unit) for n, unit in enumerate(h264(range(5)))])
    made.save()
    for _ in range(2):  # a crash comes behind the first
        await sink(form).deliver(recording(made))
    assert see(made.directory / f"export/video-5-1.{form}").numbers == [*range(5)]


async def test_nothing_is_run_where_there_is_nothing_to_film(made: Made) -> None:
    made.audio(1, 0, bytes(3200))
    add_pictures(made, "share/5.pngs", [Sent(0, still("PNG", 1))])
    made.save()
    broken = RemuxSink(RemuxConfig(formats={"main": "mkv"}, timeout_s=0.001), ENVIRONMENT)  # of whatever it would run
    await broken.deliver(recording(made))
    add_pictures(made, "video/5.mjpeg", [Sent(0, still("JPEG", 1))])
    made.save()
    await RemuxSink(RemuxConfig(formats={"main": "off", "other": "mkv"}, timeout_s=0.001), ENVIRONMENT).deliver(
        recording(made)
    )
    await broken.deliver(recording(made, DeliveryEvent.REVOKED))
    with pytest.raises(TryAgain, match="not done"):
        await broken.deliver(recording(made))
    assert not (made.directory / "export").exists()


async def test_a_failure_says_why(made: Made) -> None:
    add_pictures(made, "video/5.h264", [Sent(0, h264(range(3))[1])])
    made.save()
    with pytest.raises(TryAgain, match="exit status 1") as failure:
        await sink().deliver(recording(made))
    assert "no key frame" in failure.value.output


async def test_without_the_extra_it_waits_and_says_so(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    add_pictures(made, "video/5.mjpeg", [Sent(0, still("JPEG", 1))])
    made.save()
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(Unusable, match=r"pip install 'rtmsd\[media\]'"):
        await sink().deliver(recording(made))
    assert not (made.directory / "export").exists()


async def test_programs_may_have_a_low_priority(tmp_path: Path, made: Made) -> None:
    made.save()
    command = ("/bin/sh", "-c", f"read line; nice >{tmp_path}/nice")  # the manifest comes once all is prepared
    await ExecSink(ExecConfig(name="x", kind="exec", command=command), ENVIRONMENT, 19).deliver(recording(made))
    assert (tmp_path / "nice").read_text() == "19\n"


def test_the_key_makes_a_sink(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def config(form: str) -> Any:
        path = tmp_path / "config.toml"
        path.write_text(CONFIG % form)
        path.chmod(0o600)
        return load(path)

    assert config("off").archive_sinks == ()
    (found,) = config("mp4").archive_sinks
    assert (found.formats, found.unusable()) == ({"main": "mp4"}, None)
    assert isinstance(build([found], ())["recording:remux"], RemuxSink)
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    (alone,) = config('off"\n[app.recording]\nremux = "mkv').archive_sinks  # of one app
    assert alone.formats == {"main": "mkv"}
    key, why = found.unusable()
    assert (key, "pip install 'rtmsd[media]'" in why) == ("recording.remux", True)
