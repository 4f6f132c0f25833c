"""Sinks as the daemon shows them: status, doctor, metrics, reload, and the end of the daemon while a program runs."""

import os
from pathlib import Path

import attrs
import httpx
import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families
from trio.testing import wait_all_tasks_blocked

from rtmsd.admin.messages import AdminError, Code
from rtmsd.config import ExecConfig, StreamsConfig
from rtmsd.daemon.backend import Backend
from rtmsd.daemon.root import Daemon
from rtmsd.state import deliveries as queue
from rtmsd.state import directories as remembered
from rtmsd.state.journal import LocalJournal
from tests.daemon.whole import config, running_daemon

LIMIT_S = 60


def sink(*command: str, name: str = "after") -> ExecConfig:
    return ExecConfig(name=name, kind="exec", command=command)


async def queue_one(directory: Path) -> None:
    """Leave a delivery behind, as a daemon that was killed does."""
    recording = directory / "recordings" / "day" / "a"
    await trio.Path(recording).mkdir(parents=True)
    await trio.Path(recording / "stream.json").write_text('{"state": "ended"}')
    journal = await LocalJournal.open(directory / "state.sqlite")
    await journal.transact(
        lambda db: queue.finished(db, sinks=["after"], rtms_stream_id="a", directory="day/a", now_ms=1)
    )
    await journal.aclose()


async def until_state(backend: Backend, state: str) -> None:
    with trio.fail_after(LIMIT_S):
        while [each["state"] for each in await backend.deliveries.listed()] != [state]:  # noqa: ASYNC110 no event for it
            await trio.sleep(0.01)


def samples(backend: Backend) -> dict[tuple[str, str], float]:
    return {
        (sample.labels["sink"], sample.labels.get("state") or sample.labels["result"]): sample.value
        for family in text_string_to_metric_families(backend.metrics().decode())
        for sample in family.samples
        if "sink" in sample.labels
    }


async def test_all_label_sets_start_at_0(tmp_path: Path) -> None:
    async with running_daemon(config(tmp_path, sinks=(sink("/bin/true"), sink("/bin/true", name="b")))) as backend:
        assert samples(backend) == {
            (name, word): 0 for name in ("after", "b") for word in ("waiting", "running", "dead", "done", "retry")
        }
        assert backend.status()["deliveries"] == {"waiting": 0, "running": 0, "dead": 0}
        (finding,) = [each for each in await backend.doctor() if each["check"] == "deliveries"]
        assert (finding["ok"], finding["detail"]) == (True, "none failed in the last day")


async def test_a_program_that_is_missing_is_a_warning_until_a_reload_names_another(tmp_path: Path) -> None:
    await queue_one(tmp_path)
    settings = config(tmp_path, sinks=(sink("/nowhere"),))
    async with running_daemon(settings) as backend:
        await until_state(backend, "waiting")
        (warning,) = backend.status()["warnings"]
        assert "/nowhere" in warning
        (finding,) = [each for each in await backend.doctor() if each["check"] == "deliveries"]
        assert (finding["ok"], finding["detail"]) == (False, warning)
        with pytest.raises(AdminError) as refused:
            await backend.deliveries.replay(1)
        assert refused.value.code is Code.REFUSED_IN_STATE
        with pytest.raises(AdminError) as unknown:
            await backend.deliveries.show(2)
        assert unknown.value.code is Code.NO_SUCH_DELIVERY
        text = (
            '[[app]]\nclient_id = "a"\nclient_secret = { value = "b" }\nwebhook_secret = { value = "c" }\n'
            '[[sink]]\nname = "after"\nkind = "exec"\ncommand = ["/bin/false"]\n'
        )
        await trio.Path(tmp_path / "config.toml").write_text(text)
        changed = (await backend.reload())["changed"]
        assert ("sink[after].command", ["/bin/false"], False) in [
            (change["path"], change["new"], change["needs_restart"]) for change in changed
        ]
        assert not [line for line in backend.status()["warnings"] if "sink" in line]


async def test_webhooks_are_taken_while_a_stop_gives_a_program_its_time(tmp_path: Path) -> None:
    """A stream that the next process resumes must not wait for it, nor a start that comes meanwhile."""
    await queue_one(tmp_path)
    settings = config(tmp_path, sinks=(sink("/usr/bin/tail", "-f", "/dev/null"),), streams=StreamsConfig(drain_s=600))
    daemon = Daemon(tmp_path / "config.toml", settings, end_streams=False)
    with trio.fail_after(LIMIT_S):
        async with trio.open_nursery() as nursery:
            backend: Backend = await nursery.start(daemon.run)
            await until_state(backend, "running")
            daemon.stop()
            await wait_all_tasks_blocked()
            async with httpx.AsyncClient() as client:
                assert (await client.get(f"http://{backend.listening['webhook'][0]}/healthz")).status_code == 200
            daemon.stop()  # hurries


async def test_a_stop_gives_a_program_some_time_and_then_leaves_nothing_of_it(tmp_path: Path) -> None:
    await queue_one(tmp_path)
    pid = tmp_path / "pid"
    hanging = sink("/bin/sh", "-c", f"echo $$ >{pid}.new; mv {pid}.new {pid}; exec tail -f /dev/null")
    with trio.fail_after(LIMIT_S):
        async with running_daemon(config(tmp_path, sinks=(hanging,), streams=StreamsConfig(drain_s=0.1))) as backend:
            await until_state(backend, "running")
            while not await trio.Path(pid).exists():  # noqa: ASYNC110 another process
                await trio.sleep(0.01)
    with pytest.raises(ProcessLookupError):
        os.kill(int(await trio.Path(pid).read_text()), 0)
    async with running_daemon(config(tmp_path, sinks=(sink("/bin/true"),))) as backend:
        await until_state(backend, "done")
        (row,) = await backend.deliveries.listed()
        assert (row["runs"], row["due_ms"]) == (2, None)


async def test_a_delivery_finds_its_recording_where_an_earlier_configuration_had_it(tmp_path: Path) -> None:
    await queue_one(tmp_path)
    (tmp_path / "recordings" / "day").rename(tmp_path / "recordings" / "2026-09-21")
    journal = await LocalJournal.open(tmp_path / "state.sqlite")
    await journal.transact(
        lambda db: queue.moved(db, places={"day/a": Path("2026-09-21/a")})  # as before: below the root
    )
    await journal.transact(lambda db: remembered.remember(db, [tmp_path / "recordings"]))
    await journal.aclose()
    command = ("/bin/sh", "-c", f'ls "$RTMSD_DIRECTORY" >{tmp_path}/seen')
    settings = config(tmp_path, sinks=(sink(*command),))
    settings = attrs.evolve(settings, recording=attrs.evolve(settings.recording, directory=tmp_path / "new"))
    async with running_daemon(settings) as backend:
        await until_state(backend, "done")
        (row,) = await backend.deliveries.listed()
    assert row["directory"] == str(tmp_path / "recordings" / "2026-09-21" / "a")
    assert (tmp_path / "seen").read_text() == "stream.json\n"
