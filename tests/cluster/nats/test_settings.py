"""What can be told of a configuration without connecting."""

import re
from pathlib import Path
from typing import Any

import attrs
import pytest

import rtmsd
from rtmsd.cluster.engines.nats.settings import NatsSettings
from rtmsd.errors import ConfigError

GOOD = NatsSettings(
    node="a", servers=("tls://n1:4222", "tls://[::1]:4222", "nats://127.0.0.1:4222", "nats://localhost")
)


def test_a_good_configuration_passes() -> None:
    GOOD.check()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"servers": ()}, "cluster.servers: none given"),
        ({"servers": ("nats://n1:4222",)}, r"cluster.servers: .*plain text.*tls://, or set allow_plain"),
        ({"servers": ("nats://127.0.0.1.example.com",)}, "plain text"),
        ({"servers": ("ws://n1:4222",)}, r"is not tls://host:port"),
        ({"servers": ("tls://",)}, r"is not tls://host:port"),
        ({"servers": ("tls://n1:99999",)}, "is no URL"),
        ({"servers": ("tls://[n1",)}, "is no URL"),
        ({"servers": ("tls://u:s3cret@n1",)}, "credentials belong into user and password"),
        ({"node": "a.b"}, "cluster.node"),
        ({"node": "a.>"}, "cluster.node"),
        ({"node": ""}, "cluster.node"),
        ({"name": "RTMS"}, "cluster.name"),
        ({"name": "a.b"}, "cluster.name"),
        ({"partitions": 0}, "cluster.partitions"),
        ({"partitions": 65}, "cluster.partitions"),
        ({"replicas": 2}, "cluster.replicas"),
        ({"user": "u"}, "cluster.user: needs a password"),
        ({"password": "p"}, "cluster.user: needs a password"),
        ({"user": "u", "password": "p", "nkey": "SU..."}, "cluster.nkey: remove it"),
        ({"nkey": "SUnonsense"}, "cluster.nkey: is not the seed"),
        ({"cert_file": Path("x")}, "cluster.cert_file: needs key_file"),
    ],
)
def test_a_mistake_is_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        _changed(change).check()
    assert "s3cret" not in str(caught.value)


def test_all_mistakes_are_named_together() -> None:
    with pytest.raises(ConfigError) as caught:
        _changed({"name": "", "node": "", "servers": ()}).check()
    assert len(caught.value.mistakes) == 3


def test_a_worker_is_a_member_of_its_machine() -> None:
    _changed({"node": "a.3"}).check()


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"ca_file": "nothing"}, "cluster.ca_file: cannot read"),
        ({"ca_file": "garbage"}, "cluster.ca_file: .* holds no PEM certificate"),
        ({"cert_file": "nothing", "key_file": "garbage"}, "cluster.cert_file: cannot read"),
        ({"cert_file": "garbage", "key_file": "garbage"}, "cluster.cert_file: .* not a PEM certificate and its key"),
    ],
)
def test_files_of_certificates_are_read(tmp_path: Path, files: dict[str, str], words: str) -> None:
    (tmp_path / "garbage").write_text("no certificate")
    with pytest.raises(ConfigError, match=words):
        _changed({key: tmp_path / name for key, name in files.items()}).tls_context()


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
