"""Zoom's published SDK against the simulator, over TLS."""

import json
import os
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
import trio

from rtmsd.protocol.enums import EventType, StatusCode
from rtmsd.simulator import ARRIVED, SimSession, Simulator, SimulatorSettings, Timing, built_in, open_simulator, play
from rtmsd.simulator.scenario.scenario import parse

pytestmark = pytest.mark.skipif(
    find_spec("rtms") is None, reason="Zoom's SDK (rtms) has wheels for Linux on x86_64 and CPython 3.10 to 3.13 only"
)

CLIENT: Final = Path(__file__).with_name("sdk_client.py")

SPEED: Final = 10.0
QUICK: Final = {"half-open": 20.0}
"""Zoom's seconds in one of ours. The SDK connects again after about one of its own."""

PATIENT: Final = Timing(attach_window_s=600, signaling_window_s=300, media_window_s=300, stop_grace_s=20)
"""Windows for a machine that is busy: Zoom's, at this speed, are a few seconds, and it has 50 ms to read the end."""

UNHURRIED: Final = attrs.evolve(PATIENT, stop_grace_s=50, keep_alive_misses=60)
"""Where every packet counts: the SDK drops what it has not read when Zoom says that the stream has ended."""

STARTED_S: Final = 40.0
STARTS: Final = 3

UNBROKEN: Final = frozenset({"contact-center", "conversation", "pause", "revoked", "webhooks"})
"""Scenarios in which nothing is cut: everything sent must be received."""

CONTACT_CENTER: Final = """
product = "contact_center"
people = ["Ana", { user_name = "Bo", talking = false }]
step = [{ at_s = 8, do = "talk", who = "Bo" }, { at_s = 14, do = "stop", reason = "HOST_TRIGGERED" }]
"""

PLAYED: Final = UNBROKEN | {"dialects", "failover", "half-open", "hostile", "media-cuts", "signaling-cuts"}
"""They run at once: a busy machine has no time for more of them, and the SDK is asked for audio and transcripts."""

ALL: Final = built_in() | {"contact-center": parse("contact-center", CONTACT_CENTER)}
SCENARIOS: Final = {name: ALL[name] for name in sorted(PLAYED)}


@attrs.define
class Heard:
    """The SDK's callbacks. It is settled once it has all its connections and subscriptions."""

    counts: Counter[str] = attrs.Factory(Counter)
    audio: Counter[tuple[str, int, int]] = attrs.Factory(Counter)
    texts: Counter[str] = attrs.Factory(Counter)
    events: set[int] = attrs.Factory(set)
    settled: trio.Event = attrs.Factory(trio.Event)

    def take(self, line: bytes) -> None:
        report: dict[str, Any] = json.loads(line)
        self.counts[report["kind"]] += 1
        match report["kind"]:
            case "audio":
                self.audio[report["user_name"], report["timestamp"], report["bytes"]] += 1
            case "transcript":
                self.texts[report["text"]] += 1
            case "event":
                self.events.add(json.loads(report["event"])["event_type"])
        if self.audio and EventType.PARTICIPANT_JOIN in self.events:
            self.settled.set()


class SilentClientError(Exception):
    """The SDK was started, and did not come so far that it hears audio and events."""


async def listen(process: trio.Process, heard: Heard) -> None:
    assert process.stdout is not None
    rest = b""
    async for chunk in process.stdout:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            heard.take(line)


async def start_client(session: SimSession, settings: SimulatorSettings, directory: Path) -> trio.Process:
    join = {
        session.id_key: session.session_id,
        "rtms_stream_id": session.rtms_stream_id,
        "server_urls": session.signaling_url,
        "client": settings.client_id,
        "secret": settings.client_secret,
    }
    return await trio.lowlevel.open_process(
        [sys.executable, str(CLIENT), json.dumps(join)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=directory,
        env={**os.environ, "ZM_RTMS_CA": str(settings.ca_file)},
    )


async def run(simulator: Simulator, name: str, directory: Path) -> tuple[SimSession, Heard]:
    heard, processes = Heard(), []
    async with trio.open_nursery() as nursery:

        async def join(session: SimSession) -> None:
            process = await start_client(session, simulator.settings, directory)
            processes.append(process)
            nursery.start_soon(listen, process, heard)
            with trio.move_on_after(STARTED_S) as waiting:
                await heard.settled.wait()
            if waiting.cancelled_caught:
                said = f"heard {dict(heard.counts)}, events {heard.events}, exit status {process.poll()}"
                raise SilentClientError(f"{name}: {said}; handshakes: {session.record.handshakes}")

        try:
            session = await play(simulator, SCENARIOS[name], greet=join)
            await session.ended.wait()
            # While it reconnects it does not notice the end. On a busy machine it is late to read all there is.
            with trio.move_on_after(60 if name in UNBROKEN else 5):
                await processes[0].wait()
        finally:
            processes[0].kill()  # `listen` ends with it
            with trio.CancelScope(shield=True):
                await processes[0].wait()
    return session, heard


async def run_all(directory: Path, results: dict[str, tuple[SimSession, Heard]]) -> None:
    at_once = trio.CapacityLimiter(4)  # each starts an interpreter and libraries that are large

    async def run_one(name: str) -> None:
        """Play a scenario to a client. One that does not come up under load is started anew."""
        for attempt in range(STARTS):
            home = directory / f"{name}-{attempt}"
            home.mkdir()
            try:
                await play_to_client(name, home)
            except* SilentClientError:
                if attempt == STARTS - 1:
                    raise
            if name in results:
                return

    async def play_to_client(name: str, home: Path) -> None:
        settings = SimulatorSettings(
            host="localhost",
            tls=True,
            ca_file=home / "ca.pem",
            speed=QUICK.get(name, SPEED),
            close_s=10,
            handshake_s=60,
            timing=UNHURRIED if name in UNBROKEN else PATIENT,
        )
        async with at_once, open_simulator(settings) as simulator:
            results[name] = await run(simulator, name, home)

    async with trio.open_nursery() as nursery:
        for name in SCENARIOS:
            nursery.start_soon(run_one, name)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[SimSession, Heard]]:
    """The results of all scenarios, which run beside each other: one after the other they take a minute."""
    results: dict[str, tuple[SimSession, Heard]] = {}
    trio.run(run_all, tmp_path_factory.mktemp("sdk"), results)
    return results


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_the_sdk_plays_a_scenario(name: str, results: dict[str, tuple[SimSession, Heard]]) -> None:
    session, heard = results[name]
    record = session.record
    assert record.violations == []
    # The SDK asks once more for a stream that has ended, or moved: its app would have to join at the new address.
    # Where signaling was lost, it may ask before the simulator knows that.
    is_early = name in {"signaling-cuts", "half-open"}
    asked_for = {StatusCode.DUPLICATE_SIGNAL_REQUEST} if is_early else set()
    assert {refusal.status_code for refusal in record.refusals()} <= {StatusCode.INVALID_RTMS_STREAM_ID} | asked_for
    assert heard.counts["joined"] >= 1
    assert heard.counts["audio"] > 0


@pytest.mark.parametrize("name", sorted(UNBROKEN))
def test_the_sdk_hears_everything(name: str, results: dict[str, tuple[SimSession, Heard]]) -> None:
    session, heard = results[name]
    record = session.record
    people = {user_id: session.crowd.name(user_id) for user_id in record.audio}
    sent = Counter(
        (people[log.user_id], packet.timestamp_ms, len(packet.data))
        for log in record.audio.values()
        for packet in log.arrived()
    )
    assert heard.audio == sent
    assert heard.texts == Counter(item.content["data"] for item in record.transcripts if item.fate in ARRIVED)
    assert {EventType.FIRST_PACKET_TIMESTAMP, EventType.PARTICIPANT_JOIN} <= heard.events
    assert record.refusals() == []
