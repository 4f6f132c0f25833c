"""The settings of a member, and the files of its certificates."""

import re
from pathlib import Path
from typing import Any

import attrs
import pytest

import rtmsd
from rtmsd.cluster.engines.nats.settings import NatsSettings
from rtmsd.cluster.ownership import READ_S
from rtmsd.cluster.router import BUDGET_S
from rtmsd.config import ClusterConfig
from rtmsd.errors import ConfigError

GOOD = NatsSettings(
    node="a", servers=("tls://n1:4222", "tls://[::1]:4222", "nats://127.0.0.1:4222", "nats://localhost")
)


def test_the_sections_keys_are_taken_over() -> None:
    config = ClusterConfig(
        name="x",
        node="a",
        servers=("tls://n1:4222",),
        allow_plain=True,
        user="u",
        password="p",
        nkey="n",
        ca_file=Path("ca"),
        cert_file=Path("cert"),
        key_file=Path("key"),
        partitions=7,
        replicas=5,
        keep_log_s=9000,
    )
    settings = NatsSettings.of(config, "a.3")
    assert settings.node == "a.3"
    ours, theirs = ({field.name for field in attrs.fields(cls)} for cls in (NatsSettings, ClusterConfig))
    for name in ours & theirs - {"node"}:
        assert getattr(settings, name) == getattr(config, name) != getattr(ClusterConfig(), name)


def test_both_have_the_same_defaults() -> None:
    assert NatsSettings.of(ClusterConfig(), "a") == NatsSettings(node="a", servers=())


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"ca_file": "nothing"}, "cluster.ca_file: cannot read"),
        ({"ca_file": "garbage"}, "cluster.ca_file: .* holds no PEM certificate"),
        ({"cert_file": "nothing", "key_file": "garbage"}, "cluster.cert_file: cannot read"),
        ({"cert_file": "garbage", "key_file": "garbage"}, "cluster.cert_file: .* are not a PEM certificate"),
    ],
)
def test_files_of_certificates_are_read(tmp_path: Path, files: dict[str, str], words: str) -> None:
    (tmp_path / "garbage").write_text("no certificate")
    with pytest.raises(ConfigError, match=words):
        _changed({key: tmp_path / name for key, name in files.items()}).tls_context()


def test_a_webhook_is_answered_while_the_servers_are_silent() -> None:
    """It looks for the owner; and then it is kept here, which looks once more, or tells the engine of it."""
    assert READ_S + NatsSettings.of(ClusterConfig(), "a").answer_s <= BUDGET_S


def test_secrets_are_not_shown() -> None:
    assert "hunter2" not in repr(_changed({"user": "u", "password": "hunter2", "nkey": "hunter2"}))


def _changed(change: dict[str, Any]) -> NatsSettings:
    return attrs.evolve(GOOD, **change)


def test_the_client_and_its_loop_are_known_to_three_modules() -> None:
    root = Path(rtmsd.__file__).parent
    foreign = re.compile(r"^\s*(import|from) (asyncio|nats)\b", re.MULTILINE)
    importers = [path.relative_to(root).as_posix() for path in root.rglob("*.py") if foreign.search(path.read_text())]
    engines = "cluster/engines"
    assert sorted(importers) == [f"{engines}/asyncio_thread.py", f"{engines}/nats/client.py", f"{engines}/nats/link.py"]
