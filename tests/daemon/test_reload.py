"""The log of a reload."""

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from rtmsd import log
from rtmsd.config import load
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


async def test_a_secret_that_a_live_stream_may_still_use_is_never_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    masked: set[str] = set()

    def configure(config: object, *, secrets: frozenset[str]) -> None:
        masked.clear()
        masked.update(secrets)

    monkeypatch.setattr(log, "configure", configure)
    path = tmp_path / "config.toml"
    config = load(written(path, SECRETS[0]))
    deliveries = Deliveries(cast("Journal", None), tmp_path, lambda: 0)
    supervisor = cast("Supervisor", SimpleNamespace(config=config, deliveries=deliveries))
    health = cast("Health", SimpleNamespace(config=config, writers=Writers.open(config.recording, config.directories)))
    backend = Backend(path, supervisor, health, ZoomApi(), events=LiveHub(), stop=cast("Any", None))
    for secret in SECRETS[1:]:
        written(path, secret)
        await backend.reload()
    assert masked > set(SECRETS)
