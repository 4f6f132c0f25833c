"""Two apps of different products at once: a session app and a meeting app with media and a directory of its own."""

import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from rtmsd import log
from rtmsd.config import AppConfig, Config, Overrides, load
from rtmsd.daemon.backend import Backend
from rtmsd.errors import AlreadyRunningError, leaves
from rtmsd.protocol.enums import StopReason
from rtmsd.recording.verify.verify import verify
from rtmsd.simulator import Person, SimSession, Simulator, open_simulator
from rtmsd.system.lock import LockFile
from tests.daemon.whole import HURRIED, LIMIT_S, config, running_daemon
from tests.faults.process import Gate

# While no daemon runs a webhook finds nobody: httpx leaves its body half read.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator 'httpx:ResourceWarning")

CARE = attrs.evolve(
    HURRIED, client_id="careClientId", client_secret="care-client-secret", webhook_secret="care-webhook-secret"
)


def app_of(name: str, settings: Any, media: dict[str, Any], recording: dict[str, Any]) -> AppConfig:
    return AppConfig(
        name=name,
        client_id=settings.client_id,
        client_secret=settings.client_secret,
        webhook_secrets=(settings.webhook_secret,),
        media=Overrides(tuple(sorted(media.items())), "app[1].media"),
        recording=Overrides(tuple(sorted(recording.items())), "app[1].recording"),
    )


def two_apps(directory: Path, **recording: Any) -> Config:
    """`main` as the whole file says, `care` with video, another rate of packets and a directory of its own."""
    media = {"types": ("audio", "transcript", "video"), "audio.send_rate_ms": 20, "audio.sample_rate_hz": 32000}
    own = {"directory": directory / "care", **recording}
    return config(directory, apps=(app_of("main", HURRIED, {}, {}), app_of("care", CARE, media, own)))


@attrs.frozen
class Stage:
    """Zoom as each of the two apps sees it, posting to whichever daemon runs behind the gate."""

    main: Simulator
    care: Simulator
    gate: Gate

    @asynccontextmanager
    async def daemon(self, settings: Config) -> AsyncIterator[Backend]:
        async with running_daemon(settings) as backend:
            self.gate.port = int(backend.listening["webhook"][0].rpartition(":")[2])
            yield backend
            self.gate.port = None


@asynccontextmanager
async def open_stage() -> AsyncIterator[Stage]:
    gate = Gate()
    with trio.fail_after(2 * LIMIT_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(gate.run)
            async with (
                open_simulator(attrs.evolve(HURRIED, webhook_url=gate.url)) as main,
                open_simulator(attrs.evolve(CARE, webhook_url=gate.url)) as care,
            ):
                yield Stage(main, care, gate)
            nursery.cancel_scope.cancel()


async def live(sim: Simulator, product: str) -> SimSession:
    people = [Person(user_name="Ana", camera=True), Person(user_name="Bo")]
    session = await sim.start_session(people, product=product)
    await session.wait_reconnected()
    return session


async def stopped(backend: Backend, *sessions: SimSession) -> None:
    for session in sessions:
        await session.stop()
    while backend.streams(include_ended=False):  # noqa: ASYNC110 nothing signals it
        await trio.sleep(0.01)


async def directories_of(backend: Backend) -> dict[str, Path]:
    return {each["rtms_stream_id"]: Path(each["directory"]) for each in await backend.recordings()}


def manifest_in(directory: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((directory / "stream.json").read_bytes())
    return loaded


async def test_each_app_has_its_media_and_its_place_also_after_a_restart(tmp_path: Path) -> None:
    settings = two_apps(tmp_path, keep_days=1)
    async with open_stage() as stage:
        async with stage.daemon(settings) as backend:
            session, meeting = await live(stage.main, "session"), await live(stage.care, "meeting")
            await stage.main.clock.sleep(6)
        async with stage.daemon(settings) as backend:
            for each in (session, meeting):
                await each.wait_reconnected()
            await stage.main.clock.sleep(6)
            await stopped(backend, session, meeting)
            places = await directories_of(backend)
    assert places[session.rtms_stream_id].parent.parent == tmp_path / "recordings"
    assert places[meeting.rtms_stream_id].parent.parent == tmp_path / "care"
    of_main, of_care = (manifest_in(places[each.rtms_stream_id]) for each in (session, meeting))
    assert [(each["app"], each["product"], each["state"]) for each in (of_main, of_care)] == [
        ("main", "session", "ended"),
        ("care", "meeting", "ended"),
    ]
    assert {file["media"] for file in of_main["files"]} == {"audio", "transcript"}
    assert {file["media"] for file in of_care["files"]} == {"audio", "transcript", "video"}
    assert {file["sample_rate_hz"] for file in of_main["files"] if file["media"] == "audio"} == {16000}
    assert {file["sample_rate_hz"] for file in of_care["files"] if file["media"] == "audio"} == {32000}
    assert of_care["media"]["audio"]["asked"]["send_rate_ms"] == 20
    for manifest in (of_main, of_care):
        assert {gap["cause"] for gap in manifest["gaps"]} <= {"daemon_restart", "media_reconnect"}  # on a busy machine
        assert sum(each["kind"] == "signaling" for each in manifest["connections"]) == 2
    for directory in places.values():
        assert [str(problem) for problem in verify(directory)] == []


async def test_a_directory_without_room_refuses_the_starts_of_its_app_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = two_apps(tmp_path)
    settings = attrs.evolve(settings, recording=attrs.evolve(settings.recording, min_free_bytes=1000))
    free = {tmp_path / "recordings": 5000, tmp_path / "care": 999}
    monkeypatch.setattr("rtmsd.recording.free_space.free_bytes", lambda directory: free[directory])
    async with open_stage() as stage, stage.daemon(settings) as backend:
        session = await live(stage.main, "session")
        refused = await stage.care.start_session(["Ana"], product="meeting")
        assert refused.record.webhooks[0].status == 503
        await trio.sleep(1.2)
        status = backend.status()
        [trouble] = [each for each in status["degraded"] if each["code"] == "disk_low"]
        assert f"999 bytes free in {tmp_path / 'care'}, starts are refused of care;" in trouble["detail"]
        assert status["disk"]["free_bytes"] == 999
        assert [(each["apps"], each["free_bytes"]) for each in status["disk"]["directories"]] == [
            (["main"], 5000),
            (["care"], 999),
        ]
        [finding] = [each for each in await backend.doctor() if each["check"] == "disk"]
        assert not finding["ok"]
        free[tmp_path / "care"] = 5000
        while any(each["code"] == "disk_low" for each in backend.status()["degraded"]):  # noqa: ASYNC110
            await trio.sleep(0.1)
        taken = await live(stage.care, "meeting")
        await stopped(backend, session, taken)
        assert len(await directories_of(backend)) == 2


def aged(root: Path, name: str, days: int) -> None:
    """A recording that ended so many days ago."""
    directory = root / "2020-01-01" / name
    directory.mkdir(parents=True)
    ended_s = time.time() - days * 86_400
    fields = {"version": 1, "rtms_stream_id": name, "state": "ended", "product": "session", "app": "main"}
    times = {"started_ms": int(ended_s * 1000) - 1000, "ended_ms": int(ended_s * 1000)}
    (directory / "stream.json").write_text(json.dumps(fields | times))
    os.utime(directory / "stream.json", (ended_s, ended_s))


async def test_each_directory_is_swept_by_its_own_limits(tmp_path: Path) -> None:
    settings = two_apps(tmp_path, keep_days=2)
    for root in ("recordings", "care"):
        aged(tmp_path / root, f"old-{root}", days=3)
        aged(tmp_path / root, f"new-{root}", days=1)
    with trio.fail_after(LIMIT_S):
        async with running_daemon(settings) as backend:
            while len(found := await directories_of(backend)) != 3:  # noqa: ASYNC110 nothing signals it
                await trio.sleep(0.05)
            assert set(found) == {"old-recordings", "new-recordings", "new-care"}
            await backend.remove_recording("new-care")
            assert set(await directories_of(backend)) == {"old-recordings", "new-recordings"}


async def test_directories_of_an_app_that_is_gone_are_not_forgotten(tmp_path: Path) -> None:
    """Its unfinished stream is finished where it is; its recordings stay in the list, and age deletes none."""
    settings = two_apps(tmp_path, keep_days=2)
    aged(tmp_path / "care", "new-care", days=1)
    care = tmp_path / "care"
    async with open_stage() as stage:
        async with stage.daemon(settings):
            meeting = await live(stage.care, "meeting")
            await stage.care.clock.sleep(2)
        alone = attrs.evolve(settings, apps=settings.apps[:1], recording=attrs.evolve(settings.recording, keep_days=1))
        async with stage.daemon(alone) as backend:
            while backend.streams(include_ended=False):  # noqa: ASYNC110 nothing signals it
                await trio.sleep(0.01)
            places = await directories_of(backend)
            assert set(places) == {meeting.rtms_stream_id, "new-care"}
            assert places[meeting.rtms_stream_id].parent.parent == care
            assert manifest_in(places[meeting.rtms_stream_id])["state"] == "failed"
            assert not list((tmp_path / "recordings").glob("*/*"))
            [warning] = [each for each in backend.status()["warnings"] if str(care) in each]
            assert "does not name it any more" in warning
            with pytest.raises(AlreadyRunningError, match="in use by another rtmsd"):
                LockFile.acquire(care / ".rtmsd.lock", "care")
            for name in places:
                await backend.remove_recording(name)
        async with stage.daemon(alone) as backend:  # nothing is left there
            assert not any(str(care) in each for each in backend.status()["warnings"])


async def test_a_stream_goes_on_in_the_directory_that_it_has(tmp_path: Path) -> None:
    """Also when its app got another one, and a revocation finds it there."""
    async with open_stage() as stage:
        async with stage.daemon(two_apps(tmp_path)):
            meeting, revoked = await live(stage.care, "meeting"), await live(stage.care, "meeting")
            await stage.care.clock.sleep(2)
        settings = config(tmp_path, apps=(*two_apps(tmp_path).apps[:1], app_of("care", CARE, {}, {})))
        async with stage.daemon(settings) as backend:
            for each in (meeting, revoked):
                await each.wait_reconnected()
            await meeting.stop()
            await revoked.stop(StopReason.STREAM_REVOKED)
            while backend.streams(include_ended=False):  # noqa: ASYNC110 nothing signals it
                await trio.sleep(0.01)
            places = await directories_of(backend)
            assert {each.parent.parent for each in places.values()} == {tmp_path / "care"}
            assert [path.name for path in places[revoked.rtms_stream_id].iterdir()] == ["stream.json"]
            assert manifest_in(places[revoked.rtms_stream_id])["state"] == "revoked"
            await meeting.webhooks.stopped(StopReason.STREAM_REVOKED)  # after its end: nobody records it any more
            while [path.name for path in places[meeting.rtms_stream_id].iterdir()] != ["stream.json"]:  # noqa: ASYNC110
                await trio.sleep(0.01)
            assert manifest_in(places[meeting.rtms_stream_id])["state"] == "revoked"
            assert not list((tmp_path / "recordings").glob("*/*"))


async def test_a_directory_that_another_daemon_has_is_named_by_its_key(tmp_path: Path) -> None:
    settings = two_apps(tmp_path)
    (tmp_path / "care").mkdir()
    lock = LockFile.acquire(tmp_path / "care" / ".rtmsd.lock", "care")
    try:
        with pytest.raises(ExceptionGroup) as found:
            async with running_daemon(settings):
                raise AssertionError("it started")
    finally:
        lock.release()
    [error] = leaves(found.value)
    assert str(error).startswith(f"app[1].recording.directory: {tmp_path / 'care'} is in use by another rtmsd")


def file_of(directory: Path, *, care: str) -> str:
    """A configuration for `two_apps`' simulators, as a file. `care` is what stands at the end of the second app."""
    apps = [
        f'[[app]]\nname = "{name}"\nclient_id = "{zoom.client_id}"\n'
        f'client_secret = {{ value = "{zoom.client_secret}" }}\n'
        f'webhook_secret = {{ value = "{zoom.webhook_secret}" }}\n{own}'
        for name, zoom, own in (("main", HURRIED, ""), ("care", CARE, care))
    ]
    return "".join(apps) + (
        f'[zoom]\nallowed_hosts = ["127.0.0.1"]\nallow_plain_ws = true\n[webhook]\nlisten = "127.0.0.1:0"\n'
        f'[recording]\ndirectory = "{directory}/recordings"\nmin_free_bytes = 0\nsync_interval_s = 0.1\n'
        f"[streams]\nreconnect_delay_s = 0.05\nstop_grace_s = 1\n"
        f'[state]\nfile = "{directory}/state.sqlite"\n[admin]\nsocket = "{directory}/admin.sock"\n'
    )


async def test_a_reload_changes_an_apps_media_at_once_and_its_directory_at_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "configure", lambda config, *, secrets: None)
    path = tmp_path / "config.toml"
    path.write_text(file_of(tmp_path, care=""))
    path.chmod(0o600)
    async with open_stage() as stage:
        async with stage.daemon(load(path)) as backend:
            before = await live(stage.care, "meeting")
            own = f'[app.media]\ntypes = ["audio"]\n[app.recording]\ndirectory = "{tmp_path}/care"\n'
            path.write_text(file_of(tmp_path, care=own))
            changed = (await backend.reload())["changed"]
            assert {each["path"]: each["needs_restart"] for each in changed} == {
                "app[care].media.types": False,
                "app[care].recording.directory": True,
            }
            after = await live(stage.care, "meeting")
            assert set(backend.stream(before.rtms_stream_id)["media"]) == {"audio", "transcript"}
            assert set(backend.stream(after.rtms_stream_id)["media"]) == {"audio"}
            await stopped(backend, before, after)
            assert {each.parent.parent for each in (await directories_of(backend)).values()} == {
                tmp_path / "recordings"
            }
            assert backend.config()["effective"]["care"]["media.types"] == {"value": ["audio"], "from": "app"}
        async with stage.daemon(load(path)) as backend:
            moved = await live(stage.care, "meeting")
            await stopped(backend, moved)
            places = await directories_of(backend)
            assert places[moved.rtms_stream_id].parent.parent == tmp_path / "care"
            assert len(places) == 3
