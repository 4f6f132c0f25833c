"""Pictures of the simulator, decoded by PyAV and Pillow: the numbers they show are those of the record."""

import base64
import io
import itertools
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rtmsd.protocol.enums import MediaType, PayloadType, Resolution
from rtmsd.simulator import Person, SimulatorSettings, open_simulator
from rtmsd.simulator.media.frames import KEY_EVERY, LOOP_FRAMES, draw, frame_loop, read_counter
from rtmsd.simulator.model.record import SentItem
from tests.simulator.conftest import PATIENT, Client

SETTINGS = SimulatorSettings(speed=20, close_s=60, timing=PATIENT)
JPG, PNG, H264 = PayloadType.JPG, PayloadType.PNG, PayloadType.H264
SIZES = [(Resolution.SD, 640, 360), (Resolution.HD, 1280, 720)]


def image_counter(data: bytes, codec: PayloadType, size: tuple[int, int]) -> int:
    """The number in a JPEG or PNG, read by Pillow."""
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.size) == ({JPG: "JPEG", PNG: "PNG"}[codec], size)
        return read_counter(image.convert("L").tobytes(), *size)


def film_counters(messages: Iterable[bytes], size: tuple[int, int]) -> list[int]:
    """The numbers in an H.264 stream, decoded by PyAV; each message has to give one frame."""
    decoder: Any = av.CodecContext.create("h264", "r")
    decoder.flags |= av.codec.context.Flags.low_delay
    frames = [frame for data in messages for frame in decoder.decode(av.Packet(data))] + decoder.decode(None)
    assert {(frame.width, frame.height) for frame in frames} == {size}
    return [read_counter(frame.to_ndarray(format="gray").tobytes(), *size) for frame in frames]


def units(data: bytes) -> Iterator[int]:
    """The types of the NAL units in an Annex B stream."""
    for part in data.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")[1:]:
        yield part[0] & 0x1F


@given(st.integers(0, 0xFFFF), st.sampled_from([(96, 64), (640, 360), (854, 480), (17, 13)]), st.integers(0, 9))
def test_a_number_is_read_from_what_was_drawn(counter: int, size: tuple[int, int], padding: int) -> None:
    width, height = size
    drawn = draw(counter, width, height, width + padding)
    grey = b"".join(drawn[at : at + width] for at in range(0, len(drawn), width + padding))
    assert read_counter(grey, width, height) == counter


def test_what_shows_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="neither black nor white"):
        read_counter(b"\x80" * 16, 4, 4)
    with pytest.raises(ValueError, match="not 4 x 4"):
        read_counter(bytes(15), 4, 4)


@pytest.mark.parametrize("codec", [JPG, PNG])
@pytest.mark.parametrize(("resolution", "width", "height"), SIZES)
def test_images_are_whole_and_show_their_number(
    codec: PayloadType, resolution: Resolution, width: int, height: int
) -> None:
    loop = frame_loop(codec, resolution, 5)
    for number in (0, 1, 5, LOOP_FRAMES + 2):
        frame = loop.frame(number)
        assert image_counter(frame.data, codec, (width, height)) == frame.counter == number % LOOP_FRAMES
        assert base64.b64decode(frame.base64) == frame.data


def test_a_film_is_an_access_unit_a_frame_with_key_frames() -> None:
    loop = frame_loop(H264, Resolution.SD, 25)
    messages = [loop.frame(number).data for number in range(LOOP_FRAMES + 20)]  # over the end of the loop
    expected = [number % LOOP_FRAMES for number in range(LOOP_FRAMES + 20)]
    assert film_counters(messages, (640, 360)) == expected
    assert film_counters(messages[KEY_EVERY:], (640, 360)) == expected[KEY_EVERY:]  # one may begin there
    for number, data in enumerate(messages[:LOOP_FRAMES]):
        assert data.startswith(b"\0\0\0\1")
        assert ({7, 8, 5} <= set(units(data))) == (number % KEY_EVERY == 0)
        assert len([kind for kind in units(data) if kind in {1, 5}]) == 1


@pytest.mark.parametrize("codec", [JPG, PNG, H264])
def test_without_pyav_there_are_clips(codec: PayloadType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    frame_loop.cache_clear()
    frames = [frame_loop(codec, Resolution.HD, 5).frame(number) for number in range(40)]
    frame_loop.cache_clear()
    monkeypatch.undo()
    counters = [frame.counter for frame in frames]
    assert counters == [number % 32 for number in range(40)]
    if codec is H264:
        assert film_counters((frame.data for frame in frames), (96, 64)) == counters
    else:
        assert [image_counter(frame.data, codec, (96, 64)) for frame in frames] == counters


def films(log: list[SentItem]) -> list[list[SentItem]]:
    """What was sent, cut where another person or connection begins."""
    cut: list[list[SentItem]] = []
    for item in log:
        if not cut or (cut[-1][-1].content["user_id"], cut[-1][-1].connection) != (
            item.content["user_id"],
            item.connection,
        ):
            cut.append([])
        cut[-1].append(item)
    return cut


async def test_each_person_and_each_connection_begins_with_a_key_frame() -> None:
    people = [Person(user_name="Ana", camera=True), Person(user_name="Bo", talking=False, camera=True)]
    async with open_simulator(SETTINGS) as simulator:
        session = await simulator.start_session(people, product="meeting")
        client = Client(session, SETTINGS)

        async def more(count: int) -> None:
            so_far = len(client.pictures)
            await client.until(lambda: len(client.pictures) > so_far + count)

        asked = {"codec": 7, "fps": 5, "resolution": 1}
        async with client.signaling() as signaling:
            async with client.media(signaling, 6, video=asked, deskshare=asked):
                await more(20)
                session.talk("Bo")  # the active speaker
                await more(20)
                session.share("Ana")
                await more(40)
                session.cut_media(media=MediaType.VIDEO)
                await client.closed(1)
            async with client.media(signaling, 6, video=asked, deskshare=asked):
                await more(40)
                session.pause()
                await simulator.clock.sleep(2)
                session.resume()
                await more(20)
                session.join(Person(user_name="Cleo", camera=True))
                await client.until(lambda: len(client.events(8)) == 2)
                await session.stop()
                await client.closed(3)
    video, share = films(session.record.video), films(session.record.share)
    assert [(film[0].content["user_name"], film[0].connection != video[0][0].connection) for film in video] == [
        ("Ana", False),
        ("Bo", False),
        ("Bo", True),
        ("Cleo", True),
    ]
    assert [film[0].content["user_name"] for film in share] == ["Ana", "Ana"]
    for film in [*video, *share]:
        messages = [base64.b64decode(item.content["data"]) for item in film]
        assert film[0].counter == 0
        assert film_counters(messages, (640, 360)) == [item.counter for item in film]
    times = [item.timestamp_ms for item in session.record.video]
    assert max(later - earlier for earlier, later in itertools.pairwise(times)) >= 2000, "nothing in the pause"
    for number, log in ((15, session.record.video), (16, session.record.share)):
        received = [content for sent, content in client.pictures if sent == number]
        assert received == [item.content for item in log if item.fate.name == "SENT"]
