"""The accelerator beside the reference: the same bytes, however cut, leave the same recording."""

import base64
import itertools
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from rtmsd.accelerator import PacketReader
from rtmsd.accelerator.learning import FormLearner
from rtmsd.protocol.audio_form import find_form
from rtmsd.protocol.enums import PayloadType
from rtmsd.protocol.media_data import decode_batch
from rtmsd.protocol.media_params import AudioFormat
from rtmsd.protocol.messages import SessionRef
from rtmsd.recording.disk.writer import Writer
from rtmsd.recording.manifest.header import StreamInfo
from rtmsd.recording.media.wav.track import Track
from rtmsd.recording.opening import open_recorder
from rtmsd.recording.recorder import Recorder
from rtmsd.transport.lifting import SharedLiftingStream
from rtmsd.transport.network import READ_BYTES, Progress, TcpStream

if TYPE_CHECKING:
    from rtmsd.accelerator._packets import Reader

pytestmark = pytest.mark.skipif(PacketReader is None, reason="installed without a C compiler")

T: Final = 1_790_000_000_000
PACKET_MS: Final = 20
HEAD: Final = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
AUDIO: Final = frozenset({"audio"})
L16: Final = AudioFormat(codec=PayloadType.L16, rate_hz=8000, channels=1, mixed=False, send_rate_ms=PACKET_MS)


def samples(number: int, size: int = 16 * PACKET_MS) -> bytes:
    return (number % 30_000 + 1).to_bytes(2, "little") * (size // 2)


def message(timestamp_ms: int, data: bytes, **content: Any) -> dict[str, Any]:
    encoded = base64.b64encode(data).decode()
    known = {"user_id": 7, "user_name": "Ana", "data": encoded, "length": len(data), "timestamp": timestamp_ms}
    return {"msg_type": 14, "content": {**known, **content}}


def frame(payload: bytes, first: int = 0x81) -> bytes:
    if len(payload) < 126:
        return bytes([first, len(payload)]) + payload
    if len(payload) > 0xFFFF:
        return bytes([first, 127]) + len(payload).to_bytes(8, "big") + payload
    return bytes([first, 126]) + len(payload).to_bytes(2, "big") + payload


def wire(value: object, **options: Any) -> bytes:
    return frame(json.dumps(value, **{"separators": (",", ":"), **options}).encode())


@attrs.frozen
class Settings:
    directory: Path
    sync_interval_s: float = 0.5
    buffer_bytes: int = 2**20


async def at_once(work: Callable[..., Any], *args: Any) -> Any:
    return work(*args)


@asynccontextmanager
async def recorder() -> AsyncIterator[Recorder]:
    with tempfile.TemporaryDirectory() as directory:
        chosen = Settings(Path(directory))
        info = StreamInfo(
            rtms_stream_id="s",
            product="session",
            session=SessionRef("session_id", "x"),
            app="main",
            started_ms=T,
            started_again_ms=T,
        )
        opened = await open_recorder(info, Writer(chosen, run_sync=at_once), local_ms=lambda: 7)
        opened.connected("signaling", frozenset())
        opened.connected("media", AUDIO)
        opened.media.audio_format(L16)
        yield opened


class Chunks:
    """A network that has brought all there is, in these pieces."""

    def __init__(self, chunks: Sequence[bytes]) -> None:
        self._chunks = [HEAD, *chunks, b""]
        self.asked_bytes: list[int] = []

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return self._chunks.pop(0)

    def receive_nowait(self, max_bytes: int = 0) -> bytes:
        self.asked_bytes.append(max_bytes)
        return self._chunks.pop(0)

    def take_nowait(self, packets: "Reader") -> bytes | None:
        return packets.take(self.receive_nowait())

    def fileno(self) -> int:
        return 3


class Turns:
    """In place of the socket set: the socket is always readable."""

    async def wait(self, fd: int, on_readable: Callable[[], Progress]) -> None:
        while on_readable() is not Progress.ENOUGH:
            pass


class Playing:
    """A connection whose bytes go to a recorder, with the accelerator or without."""

    def __init__(self, recorder: Recorder, chunks: Sequence[bytes], packets: "Reader | None") -> None:
        self.recorder = recorder
        self.seen: list[bytes] = []  # what is no media
        self.taken = 0
        self._learner = None if packets is None else FormLearner(packets)
        self.network = network = cast("Any", Chunks(chunks))
        turns: Any = Turns()
        self.stream = SharedLiftingStream(network, 2**20, self._consume, None, turns)
        self.stream.may_rest = True
        if packets is not None:
            self.stream.read_packets(packets, self._took)

    def _consume(self, batch: Sequence[bytes]) -> None:
        if batch:
            decode_batch(batch, self.recorder.media, lambda raw: self.seen.append(bytes(raw)))
            if self._learner is not None:
                self._learner.look(batch)

    def _took(self, count: int) -> None:
        self.taken += count
        self.recorder.media.took_packets(count)

    async def play(self) -> bytes:
        """Return what trio-websocket gets to see."""
        passed = b""
        while data := await self.stream.receive_some():
            passed += data
        return passed


def state(recorder: Recorder) -> dict[str, Any]:
    """All that packets change."""
    media = recorder.media
    tracks = {}
    for user_id, track in media._audio.tracks.items():
        plain = {name: getattr(track, name) for name in Track.__slots__}
        plain["_keys"] = list(plain["_keys"])
        plain["_tail"] = b"".join(plain["_tail"])
        plain["holes"] = list(plain["holes"])
        for name in ("_backlog", "_drift", "_recent", "file", "_earlier"):
            del plain[name]
        plain["queued"] = [(offset, b"".join(pieces)) for offset, pieces in track.file.queued]
        tracks[user_id] = plain
    manifest = recorder.manifest()
    return {"tracks": tracks, "manifest": manifest, "pending": media.backlog.pending_bytes, "messages": media.messages}


async def both(chunks: Sequence[bytes], before: Callable[[Recorder], object] = lambda recorder: None) -> int:
    """Play with the accelerator and without, and compare. Returns how many packets the accelerator took."""
    async with recorder() as fast, recorder() as slow:
        for each in (fast, slow):
            before(each)
        packets = fast.media.packet_reader()
        assert packets is not None
        quick, plain = Playing(fast, chunks, packets), Playing(slow, chunks, None)
        assert await quick.play() == await plain.play()
        assert quick.seen == plain.seen
        assert state(fast) == state(slow)
        return quick.taken


def cut(data: bytes, *places: int) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:stop] for start, stop in itertools.pairwise(ends)]


async def test_packets_that_continue_a_track_are_taken() -> None:
    sent = [wire(message(T + PACKET_MS * number, samples(number))) for number in range(50)]
    assert await both(sent) >= 48


@pytest.mark.parametrize("chunk_bytes", [1, 3, 100, 479, 480, 1000, 5000])
async def test_and_so_are_those_that_two_reads_bring(chunk_bytes: int) -> None:
    sent = b"".join(wire(message(T + PACKET_MS * number, samples(number))) for number in range(60))
    taken = await both([sent[at : at + chunk_bytes] for at in range(0, len(sent), chunk_bytes)])
    assert taken >= (40 if chunk_bytes > 3 else 0)


def wire_audio(timestamp_ms: int, data: bytes | None = None, **content: Any) -> bytes:
    return wire(message(timestamp_ms, samples(timestamp_ms) if data is None else data, **content))


def other_order(timestamp_ms: int) -> bytes:
    content = {"timestamp": timestamp_ms, "data": base64.b64encode(samples(timestamp_ms)).decode(), "user_id": 7}
    return wire({"content": {**content, "user_name": "Ana"}, "msg_type": 14})


def changed(old: bytes, new: bytes, data: bytes | None = None) -> Callable[[int], bytes]:
    """An audio message with something else in it, as long or not."""

    def make(timestamp_ms: int) -> bytes:
        payload = wire_audio(timestamp_ms, data)[4:]
        assert old in payload
        return frame(payload.replace(old, new, 1))

    return make


def in_fragments(timestamp_ms: int) -> bytes:
    payload = wire_audio(timestamp_ms)[4:]
    return frame(payload[:100], 0x01) + frame(payload[100:300], 0x00) + frame(payload[300:], 0x80)


OTHERS: Final[dict[str, Callable[[int], bytes]]] = {
    "next": wire_audio,
    "another's": lambda now_ms: wire_audio(now_ms, user_id=8, user_name="Bö"),
    "nameless": lambda now_ms: wire_audio(now_ms, user_name=None),
    "renamed": lambda now_ms: wire_audio(now_ms, user_name="Eva"),
    "early": lambda now_ms: wire_audio(now_ms + 3000),
    "late": lambda now_ms: wire_audio(now_ms - 400),
    "repeated": lambda now_ms: wire_audio(now_ms - PACKET_MS),
    "jitter": lambda now_ms: wire_audio(now_ms + 7),
    "ancient": lambda now_ms: wire_audio(1_000_000_000_000),
    "seconds": lambda now_ms: wire_audio(now_ms // 1000),
    "short": lambda now_ms: wire_audio(now_ms, samples(now_ms, 100)),
    "odd": lambda now_ms: wire_audio(now_ms, samples(now_ms) + b"x"),
    "padded": lambda now_ms: wire_audio(now_ms, samples(now_ms, 318)),
    "tiny": lambda now_ms: wire_audio(now_ms, samples(now_ms, 2), length=None, user_name=None),
    "huge": lambda now_ms: wire_audio(now_ms, samples(now_ms, 60_000)),
    "empty": lambda now_ms: wire_audio(now_ms, b""),
    "wrong length": lambda now_ms: wire_audio(now_ms, length=3),
    "spaced": lambda now_ms: wire(message(now_ms, samples(now_ms)), separators=(", ", ": ")),
    "in another order": other_order,
    "escaped": changed(b"/", b"\\/", b"\xff" * 320),
    "bad base64": changed(b'"data":"A', b'"data":"!', bytes(320)),
    "padding with bits": changed(b"AAA=", b"AAB=", bytes(320)),
    "padding too early": changed(b"AAAA", b"AA==", bytes(320)),
    "leading zero": changed(b'"timestamp":1', b'"timestamp":0'),
    "a letter in the time": changed(b'"timestamp":17', b'"timestamp":1x'),
    "time twice": changed(b'"user_id"', b'"timestamp":1,"user_id"'),
    "keep-alive": lambda now_ms: wire({"msg_type": 12, "timestamp": now_ms}),
    "garbage": lambda now_ms: frame(b"\x00\xff" * 200),
    "ping": lambda now_ms: frame(b"p", 0x89),
    "binary": lambda now_ms: b"\x82" + wire_audio(now_ms)[1:],
    "fragments": in_fragments,
}


@pytest.mark.parametrize("name", OTHERS)
async def test_what_comes_between_is_read_as_without_it(name: str) -> None:
    now_ms, sent = T, b""
    for number in range(30):
        sent += OTHERS[name if number in {12, 20, 21, 22} else "next"](now_ms)
        now_ms += PACKET_MS
    assert await both(cut(sent, *range(0, len(sent), 700))) > 0


async def test_data_are_where_the_reference_finds_them() -> None:
    """Which in a large message is the first key that is written so, if there is one only."""
    sent = []
    for number in range(6):
        text = json.dumps(message(T + 75 * number, samples(number, 1200))).replace('"data"', '"d\\u0061ta"')
        aside = base64.b64encode(samples(99, 1200)).decode()
        sent.append(frame(f'{{"aside": {{"data": "{aside}"}}, {text[1:]}'.encode()))
    await both(sent)


@settings(deadline=None, max_examples=60)
@given(
    rows=st.lists(st.tuples(st.sampled_from(["next", *OTHERS]), st.integers(1, 12)), max_size=15),
    places=st.lists(st.integers(0, 2**16), max_size=30),
)
async def test_any_row_of_messages_cut_anywhere(rows: list[tuple[str, int]], places: list[int]) -> None:
    now_ms, sent = T, b""
    for name, count in rows:
        for _ in range(count):
            sent += OTHERS[name](now_ms)
            now_ms += PACKET_MS
    await both(cut(sent, *places))


async def test_a_listener_hears_each_packet() -> None:
    heard: list[int] = []

    class Tap:
        def audio(self, user_id: int, user_name: str | None, timestamp_ms: int, data: bytes) -> None:
            heard.append(timestamp_ms)

    tap: Any = Tap()
    sent = [wire(message(T + PACKET_MS * number, samples(number))) for number in range(20)]
    assert await both(sent, lambda recorder: recorder.listeners.append(tap)) == 0
    assert heard == [T + PACKET_MS * number for number in range(20)] * 2


async def test_large_messages_are_read_in_large_pieces_beside_it() -> None:
    large = wire({"msg_type": 15, "content": {"data": "A" * 30_000}})
    small = wire_audio(T)
    async with recorder() as opened:
        playing = Playing(opened, [small, *[large + large] * 2, small, small], opened.media.packet_reader())
        await playing.play()
        asked = playing.network.asked_bytes
    assert [size == READ_BYTES for size in asked[1:5]] == [False, True, True, False]


@contextmanager
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    near.setblocking(False)
    with near, far:
        yield near, far


async def taught(recorder: Recorder) -> "Reader":
    """A reader that knows the form of `message`, and a track that two packets began."""
    packets = recorder.media.packet_reader()
    assert packets is not None
    for number in range(2):
        raw = wire(message(T + PACKET_MS * number, samples(number)))[4:]
        decode_batch([raw], recorder.media, lambda raw: None)
    FormLearner(packets).look([raw])
    return packets


async def test_a_socket_is_read_once() -> None:
    async with recorder() as opened:
        packets = await taught(opened)
        with sockets() as (near, far):
            with pytest.raises(BlockingIOError):
                packets.read(near.fileno())
            assert packets.taken == packets.read_bytes == 0
            row = b"".join(wire(message(T + PACKET_MS * number, samples(number))) for number in (2, 3))
            far.sendall(row + b"\x89\x00")
            assert packets.read(near.fileno()) == b"\x89\x00"
            assert (packets.taken, packets.read_bytes) == (2, len(row) + 2)
            far.sendall(wire(message(T + PACKET_MS * 4, samples(4))))
            assert packets.read(near.fileno()) is None
            far.shutdown(socket.SHUT_WR)
            assert packets.read(near.fileno()) == b""
        with pytest.raises(OSError, match="Bad file descriptor"):
            packets.read(99_999)


async def test_no_other_descriptor_is_read() -> None:
    async with recorder() as opened:
        packets = await taught(opened)
        with sockets() as (near, far):
            far.sendall(b"\x89\x00")
            with pytest.raises(OverflowError):
                packets.read(near.fileno() + 2**32)
            assert near.recv(10) == b"\x89\x00"


async def test_a_reader_that_takes_packets_is_not_asked_for_more() -> None:
    async with recorder() as opened:
        packets = await taught(opened)
        track = opened.media._audio.tracks[7]
        track._tail.clear()
        sent = wire(message(T + PACKET_MS * 2, samples(2)))
        form = find_form(sent[4:])
        assert form is not None
        calls: list[Callable[[], object]] = [
            lambda: packets.take(sent),
            lambda: packets.read(99_999),
            lambda: packets.hold(len(sent) - 4, bytearray(b"{")),
            lambda: packets.knows(sent[4:]),
            lambda: packets.learn(*attrs.astuple(form)),
        ]
        refused = 0

        def on_dirty(file: object) -> None:
            nonlocal refused
            for call in calls:
                with pytest.raises(RuntimeError):
                    call()
                refused += 1

        track.file.on_dirty = on_dirty
        assert packets.take(sent) is None
        assert refused == len(calls)
        assert packets.taken == 1


@pytest.mark.parametrize("slot", ["_tail", "_keys", "file", "user_name", "_expected"])
async def test_packets_for_a_track_without_something_are_left(slot: str) -> None:
    async with recorder() as opened:
        packets = await taught(opened)
        delattr(opened.media._audio.tracks[7], slot)
        sent = wire(message(T + PACKET_MS * 2, samples(2)))
        assert packets.take(sent) == sent


async def test_a_broken_socket_is_a_broken_stream() -> None:
    async with recorder() as opened:
        packets = await taught(opened)
        near, far = trio.socket.socketpair()
        stream = TcpStream(trio.SocketStream(near))
        with pytest.raises(trio.WouldBlock):
            stream.take_nowait(packets)
        far.close()
        assert stream.take_nowait(packets) == b""
        stream.close()
        with pytest.raises(trio.BrokenResourceError):
            stream.take_nowait(packets)


async def test_packets_for_which_there_is_no_room_are_left() -> None:
    async with recorder() as opened:
        packets = await taught(opened)
        backlog = opened.media.backlog
        backlog.pending_bytes += backlog.limit_bytes
        sent = wire(message(T + PACKET_MS * 2, samples(2)))
        assert packets.take(sent) == sent


async def test_packets_of_a_codec_are_left() -> None:
    async with recorder() as opened:
        packets = await taught(opened)
        opened.media.audio_format(attrs.evolve(L16, codec=PayloadType.G711))
        assert opened.media.packet_reader() is None
        sent = wire(message(T + PACKET_MS * 2, samples(2)))
        assert packets.take(sent) == sent


async def test_the_form_used_longest_ago_is_forgotten() -> None:
    async with recorder() as opened:
        packets = opened.media.packet_reader()
        assert packets is not None
        raws = [wire(message(T, samples(1), user_id=user_id))[4:] for user_id in range(100, 180)]
        learnt = []
        for raw in raws:
            form = find_form(raw)
            assert form is not None
            learnt.append(packets.learn(*attrs.astuple(form)))
        assert learnt == [True] * 64 + [False] * 16
        assert [packets.knows(raw) for raw in raws] == [False] * 16 + [True] * 64


@pytest.mark.parametrize(
    "form",
    [
        (b"x" * 100, 0, 4, 3, 50),
        (b"x" * 200, 0, 4, 4, 50),
        (b"x" * 200, 0, 5, 3, 50),
        (b"x" * 200, -1, 4, 3, 50),
        (b"x" * 200, 198, 4, 3, 50),
        (b"x" * 200, 0, 4, 3, 190),
        (b"x" * 200, 0, 4, 3, -5),
        (b"x" * 200, 48, 4, 3, 50),
        (b"x" * 200, 0, 0, 0, 50),
        (b"x" * 200, 2**62, 2**62, 3, 2**62),
        (b"x" * 200, 0, 4, -(2**63), 50),
        (b"x" * 200, 0, 2**63 - 4, 3, 50),
        (b"x" * 200, 0, 4, 3, 2**63 - 1),
    ],
)
async def test_what_is_no_form_is_not_learnt(form: tuple[Any, ...]) -> None:
    async with recorder() as opened:
        packets = opened.media.packet_reader()
        assert packets is not None
        assert not packets.learn(*(*form, 7, None))
        assert not packets.knows(form[0])


async def test_a_reader_is_for_these_classes() -> None:
    assert PacketReader is not None
    async with recorder() as opened:
        media = opened.media
        places: dict[str, Any] = {"store": media._audio, "timeline": media._timeline, "listeners": [], "tracks": {}}
        with pytest.raises(TypeError):
            PacketReader(track_type=int, backlog=media.backlog, **places)
        with pytest.raises(TypeError):
            PacketReader(track_type=Track, backlog=media, **places)
        unmade: Reader = PacketReader.__new__(PacketReader)
        with sockets() as (near, far):
            far.sendall(b"x")
            with pytest.raises(TypeError, match="not initialised"):
                unmade.read(near.fileno())
            assert near.recv(1) == b"x"


def test_it_can_be_left_out() -> None:
    asked = "from rtmsd.accelerator import PacketReader; print(PacketReader)"
    env = {**os.environ, "RTMSD_PURE_PYTHON": "1"}
    told = subprocess.run([sys.executable, "-c", asked], env=env, capture_output=True, text=True, check=True)
    assert told.stdout == "None\n"
