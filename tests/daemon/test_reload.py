"""The log of a reload."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from rtmsd import log
from rtmsd.config import Config, load, of_worker
from rtmsd.daemon.backend import Backend
from rtmsd.recording.writers import Writers
from rtmsd.sinks.deliveries import Deliveries
from rtmsd.sinks.hub import LiveHub
from rtmsd.zoom_api import ZoomApi

if TYPE_CHECKING:
    from rtmsd.daemon.health import Health
    from rtmsd.state.journal import Journal
    from rtmsd.streams.supervisor import Supervisor

SECRETS = ("the-first-secret", "the-second-secret", "the-third-secret")


def written(path: Path, secret: str) -> Path:
    path.write_text(f"""
[[app]]
client_id = "id"
client_secret = {{ value = "{secret}" }}
webhook_secret = {{ value = "the-secret-token" }}
[recording]
directory = "{path.parent}"
[state]
file = "{path.parent}/state.sqlite"
""")
    return path


def backend_of(path: Path, derive: Callable[[Config], Config] = lambda config: config) -> Backend:
    in_file = load(path)
    config = derive(in_file)
    deliveries = Deliveries(cast("Journal", None), path.parent, lambda: 0)
    supervisor = cast("Supervisor", SimpleNamespace(config=config, deliveries=deliveries))
    health = cast("Health", SimpleNamespace(config=config, writers=Writers.open(config.recording, config.directories)))
    stop = cast("Any", None)
    return Backend(path, supervisor, health, ZoomApi(), events=LiveHub(), stop=stop, in_file=in_file, derive=derive)


async def test_a_secret_that_a_live_stream_may_still_use_is_never_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    masked: set[str] = set()

    def configure(config: object, *, secrets: frozenset[str]) -> None:
        masked.clear()
        masked.update(secrets)

    monkeypatch.setattr(log, "configure", configure)
    path = tmp_path / "config.toml"
    backend = backend_of(written(path, SECRETS[0]))
    for secret in SECRETS[1:]:
        written(path, secret)
        await backend.reload()
    assert masked > set(SECRETS)


async def test_a_worker_uses_what_it_derives_and_shows_the_file(tmp_path: Path) -> None:
    path = written(tmp_path / "config.toml", SECRETS[0])
    cluster = '[cluster]\nnode = "a"\nservers = ["tls://n1:4222"]\n[daemon]\nworkers = 2\n'
    path.write_text(path.read_text() + cluster)
    backend = backend_of(path, lambda config: of_worker(config, 2, 2))
    path.write_text(path.read_text().replace("[state]", "keep_bytes = 1000\n[state]"))
    changed = await backend.reload()
    assert [(each["path"], each["new"]) for each in changed["changed"]] == [("recording.keep_bytes", 1000)]
    recording = backend.supervisor.config.recording
    assert (recording.keep_bytes, recording.directory) == (500, tmp_path / "workers/2")
    assert (await backend.reload())["changed"] == []
    assert (backend.config()["recording"]["keep_bytes"], backend.config()["cluster"]["node"]) == (1000, "a")
