"""The section [cluster]: its mistakes, all at once, and the names that it gives."""

import string
from pathlib import Path

import nkeys
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from hypothesis import given
from hypothesis import strategies as st

from rtmsd.cluster.engines.nats.settings import NatsSettings
from rtmsd.config import ClusterConfig, Config
from rtmsd.config.reading import Reader
from rtmsd.config.rules.addresses import may_be_reached, nats_server
from rtmsd.config.rules.values import Mistake
from rtmsd.errors import ConfigError
from tests.config.files import APP, SEED, load_text

MAIN = APP.format(name="main")
CLUSTER = f'{MAIN}[cluster]\nnode = "a"\nservers = ["tls://n1:4222"]\n'
SECRET = "open-sesame"
PASSWORD = f'password = {{ value = "{SECRET}" }}'
NKEY = f'nkey = {{ value = "{SEED}" }}'


def cluster_in(directory: Path, text: str) -> ClusterConfig:
    config = load_text(directory, text).cluster
    assert config is not None
    return config


def mistakes_in(directory: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_text(directory, text)
    assert SECRET not in str(caught.value)
    assert SEED[2:] not in str(caught.value)
    return caught.value.mistakes


def test_without_the_section_there_is_no_cluster(tmp_path: Path) -> None:
    assert load_text(tmp_path, MAIN).cluster is None


def test_a_name_and_servers_are_enough(tmp_path: Path) -> None:
    assert cluster_in(tmp_path, CLUSTER) == ClusterConfig(node="a", servers=("tls://n1:4222",))


@pytest.mark.parametrize(
    "line",
    [
        f'user = "a"\n{PASSWORD}',
        NKEY,
        "replicas = 5",
        "partitions = 64",
        "keep_log_s = 7200",
        "log = []",
        'log = ["transcript"]',
        'on_stop = "resume"',
        'gather = "manual"',
        'zone = "rack-7.b"',
        "beat_s = 0.05",
    ],
)
def test_what_may_be_set(tmp_path: Path, line: str) -> None:
    cluster_in(tmp_path, CLUSTER + line)


@pytest.mark.parametrize(
    ("line", "key", "words"),
    [
        ('name = "RTMS"', "name", "must be 1 to 16 of a-z and 0-9, not 'RTMS'"),
        ('name = "a.b"', "name", "1 to 16"),
        ('name = ""', "name", "1 to 16"),
        (f'name = "{"a" * 17}"', "name", "1 to 16"),
        (f'user = "a b"\n{PASSWORD}', "user", "one word"),
        ('user = "a"', "password", "is missing, and user needs it"),
        (PASSWORD, "user", "is missing, and password needs it"),
        (f'user = "a"\n{PASSWORD}\n{NKEY}', "nkey", "remove"),
        (f'user = "a"\n{NKEY}', "nkey", "remove"),
        (f"{PASSWORD}\n{NKEY}", "nkey", "remove"),
        (f'nkey = {{ value = "{SEED[:-1]}7" }}', "nkey", "is not the seed of a user's nkey"),
        (f'nkey = {{ value = "U{SEED[1:]}" }}', "nkey", "is not the seed"),
        ('nkey = { value = "SUnonsense" }', "nkey", "is not the seed"),
        (f'nkey = "{SEED}"', "nkey", "a secret is written"),
        (f'nkey = {{ valu = "{SEED}" }}', "nkey", "must be {"),
        ('password = "open-sesame"', "password", "a secret is written"),
        ('password = { file = "none" }\nuser = "a"', "password", "there is no file"),
        ('zone = "a b"', "zone", "at most 64 letters, digits or . _ -"),
        ("partitions = 0", "partitions", "from 1 to 64"),
        ("partitions = 65", "partitions", "from 1 to 64"),
        ("replicas = 2", "replicas", "must be 1 or 3 or 5, not 2"),
        ('replicas = "3"', "replicas", "whole number"),
        ("beat_s = 0", "beat_s", "from 0.05 to 60"),
        ("beat_s = nan", "beat_s", "from 0.05 to 60"),
        ("dead_after_beats = 1", "dead_after_beats", "from 2 to 100"),
        ("capacity_streams = 0", "capacity_streams", "from 1 to"),
        ("takeover_handshakes = 0", "takeover_handshakes", "from 1 to"),
        ("hand_over_s = 0", "hand_over_s", "from 1 to"),
        ("keep_log_s = 7199", "keep_log_s", "from 7200 to 31536000, not 7199: Zoom repeats a webhook for up to 85 min"),
        ("keep_log_s = inf", "keep_log_s", "from 7200 to"),
        ("spool_bytes = 1000", "spool_bytes", "from 1048576 to"),
        ("gather_bytes_per_s = 1000", "gather_bytes_per_s", "from 262144 to"),
        ('on_stop = "drain"', "on_stop", 'must be "hand_over" or "resume"'),
        ('gather = "always"', "gather", 'must be "at_end" or "manual"'),
        ('log = ["chat"]', "log[0]", 'must be "events" or "transcript"'),
        ('log = ["events", "events"]', "log", "more than once"),
        ("nod = 1", "nod", "did you mean node?"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, line: str, key: str, words: str) -> None:
    [mistake] = mistakes_in(tmp_path, CLUSTER + line)
    assert mistake.startswith(f"cluster.{key}: ")
    assert words in mistake


@pytest.mark.parametrize(
    ("servers", "key", "words"),
    [
        ("[]", "servers", 'name at least one, as in ["tls://n1:4222"]'),
        ('["tls://n1", "tls://n1"]', "servers", "more than once"),
        ('["tls://n1", "nats://n2:4222"]', "servers[1]", "plain text"),
        ('["ws://n1:4222"]', "servers[0]", 'must be "tls://host:port" or "nats://host:port"'),
        ('"tls://n1"', "servers", "must be a list"),
    ],
)
def test_servers_that_cannot_be_meant(tmp_path: Path, servers: str, key: str, words: str) -> None:
    [mistake] = mistakes_in(tmp_path, f'{MAIN}[cluster]\nnode = "a"\nservers = {servers}')
    assert mistake.startswith(f"cluster.{key}: ")
    assert words in mistake


def test_plain_text_where_it_is_allowed(tmp_path: Path) -> None:
    text = f'{MAIN}[cluster]\nnode = "a"\nservers = ["nats://n2:4222"]\nallow_plain = true'
    assert cluster_in(tmp_path, text).servers == ("nats://n2:4222",)


@pytest.mark.parametrize(
    ("server", "words"),
    [
        ("tls://n1.example.com:4222", ""),
        ("tls://[2001:db8::1]:4222", ""),
        ("nats://127.0.0.1:4222", ""),
        ("nats://[::1]", ""),
        ("nats://localhost", ""),
        ("nats://127.0.0.1.example.com", "plain text"),
        ("nats://192.0.2.1", "plain text"),
        ("n1:4222", "tls://host:port"),
        ("TLS://n1:4222", "tls://host:port"),
        ("tls://", "tls://host:port"),
        ("tls://:4222", "tls://host:port"),
        ("tls://n1:0", "tls://host:port"),
        ("tls://n1:4222/", "tls://host:port"),
        ("tls://n1:4222?x", "tls://host:port"),
        ("tls://n 1:4222", "tls://host:port"),
        ("tls://n1\n:4222", "tls://host:port"),
        ("tls://n1:99999", "is no URL"),
        ("tls://[n1", "is no URL"),
        (f"tls://u:{SECRET}@n1", "credentials, which belong into user and password"),
        (f"tls://u:{SECRET}@[n1", "credentials, which belong into user and password"),
    ],
)
def test_the_address_of_a_server(server: str, words: str) -> None:
    objection = NatsSettings(node="a", servers=()).objection(server) or ""
    assert words in objection
    assert bool(objection) == bool(words)
    assert SECRET not in objection


@given(server=st.text() | st.text(alphabet="ntals:/[]@.0123456789%?# ").map("tls://{}".format))
def test_any_address_is_kept_or_refused(server: str) -> None:
    try:
        nats_server(server)
    except Mistake:
        return
    may_be_reached(server, allow_plain=True)
    assert server.startswith(("tls://", "nats://"))
    assert server.isprintable()


@given(raw=st.binary(min_size=32, max_size=32), at=st.integers(2, 56), char=st.sampled_from(string.ascii_uppercase))
def test_seeds_are_those_of_the_library(raw: bytes, at: int, char: str) -> None:
    """And a slip in one is found, which the library would not."""
    seed = nkeys.encode_seed(raw, nkeys.PREFIX_BYTE_USER).decode()
    assert _is_kept(seed)
    slip = seed[:at] + char + seed[at + 1 :]
    assert _is_kept(slip) == (slip == seed)
    assert not _is_kept(nkeys.encode_seed(raw, nkeys.PREFIX_BYTE_ACCOUNT).decode())


def _is_kept(seed: str) -> bool:
    reader = Reader(Config, Path(__file__))
    reader.table(Config, {"cluster": {"nkey": {"value": seed}}})
    assert not reader.mistakes or list(reader.mistakes) == ["cluster.nkey"]
    return not reader.mistakes


def test_all_mistakes_are_named_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "n1.example.com")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    text = f'{MAIN}[cluster]\nname = ""\nreplicas = 4\nuser = "a"\ncert_file = "x"\nca_file = "y"'
    assert {mistake.split(": ")[0] for mistake in mistakes_in(tmp_path, text)} == {
        "cluster",
        *(f"cluster.{key}" for key in ("name", "replicas", "node", "servers", "password", "key_file", "ca_file")),
    }


@pytest.mark.parametrize(
    ("lacking", "words"),
    [(["nats"], "needs nats-py, "), (["nkeys"], "needs nkeys, "), (["nats", "nkeys"], "needs nats-py and nkeys, ")],
)
def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: list[str], words: str) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name in lacking else object())
    [mistake] = mistakes_in(tmp_path, CLUSTER)
    assert mistake.startswith(f"cluster: {words}missing in ")
    assert mistake.endswith(": pip install 'rtmsd[cluster]'")
    load_text(tmp_path, MAIN)


# Names


def test_the_machines_name_is_the_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "n1")
    config = cluster_in(tmp_path, f'{MAIN}[cluster]\nservers = ["tls://n1:4222"]')
    assert (config.node_name, config.zone_name) == ("n1", "n1")
    config = cluster_in(tmp_path, f'{CLUSTER}zone = "east"')
    assert (config.node_name, config.zone_name) == ("a", "east")


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("n1.example.com", "'n1.example.com', is not 1 to 64 letters, digits or _ -"),
        ("", "is not 1 to 64"),
        ("localhost", "is not one of its own"),
    ],
)
def test_a_machines_name_that_cannot_be_a_members(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, words: str
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: host)
    [mistake] = mistakes_in(tmp_path, f'{MAIN}[cluster]\nservers = ["tls://n1:4222"]')
    assert mistake.startswith("cluster.node: must be set")
    assert words in mistake


@pytest.mark.parametrize("node", ["a.b", "a.>", "*", "a b", "a" * 65])
def test_a_name_that_cannot_be_part_of_a_subject(tmp_path: Path, node: str) -> None:
    [mistake] = mistakes_in(tmp_path, CLUSTER.replace('"a"', f'"{node}"'))
    assert mistake.startswith("cluster.node: must be 1 to 64 letters, digits or _ -, not")


# Certificates


def test_certificates_that_can_be_used(tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    ca.issue_cert("a").private_key_and_cert_chain_pem.write_to_path(tmp_path / "a.pem")
    files = 'ca_file = "ca.pem"\ncert_file = "a.pem"\nkey_file = "a.pem"'
    config = cluster_in(tmp_path, CLUSTER + files)
    assert (config.ca_file, config.cert_file, config.key_file) == (
        tmp_path / "ca.pem",
        tmp_path / "a.pem",
        tmp_path / "a.pem",
    )


@pytest.mark.parametrize(
    ("files", "key", "words"),
    [
        ('ca_file = "none"', "ca_file", "cannot read"),
        ('ca_file = "nonsense"', "ca_file", "holds no PEM certificate"),
        ('cert_file = "a.pem"', "key_file", "is missing, and cert_file needs it"),
        ('key_file = "a.pem"', "cert_file", "is missing, and key_file needs it"),
        ('cert_file = "a.pem"\nkey_file = "none"', "cert_file", "cannot read"),
        ('cert_file = "a.pem"\nkey_file = "nonsense"', "cert_file", "are not a PEM certificate and its key"),
        ('cert_file = "a.pem"\nkey_file = "b.pem"', "cert_file", "are not a PEM certificate and its key"),
        ('cert_file = "a.pem"\nkey_file = "locked.pem"', "cert_file", "without a passphrase"),
    ],
)
def test_certificates_that_cannot(tmp_path: Path, files: str, key: str, words: str) -> None:
    ca = trustme.CA()
    for name in ("a", "b"):
        ca.issue_cert(name).private_key_and_cert_chain_pem.write_to_path(tmp_path / f"{name}.pem")
    (tmp_path / "nonsense").write_text("nonsense")
    (tmp_path / "locked.pem").write_bytes(locked(ca.issue_cert("a")))
    [mistake] = mistakes_in(tmp_path, CLUSTER + files)
    assert mistake.startswith(f"cluster.{key}: ")
    assert words in mistake


def locked(certificate: trustme.LeafCert) -> bytes:
    """Return the key of a certificate as it is kept behind a passphrase, for which OpenSSL would ask."""
    key = load_pem_private_key(certificate.private_key_pem.bytes(), None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(SECRET.encode()))
