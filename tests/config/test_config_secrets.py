"""Sources of secrets, and messages that never hold one."""

import os
from pathlib import Path

import pytest

from rtmsd.config.rules.secret import MAX_BYTES, FoundSecret, find_secret
from rtmsd.config.rules.values import Mistake

SECRET = "kZ8-very-secret-indeed"


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.touch(0o600)
    return path


def write_secret(path: Path, raw: bytes, mode: int = 0o600) -> None:
    path.write_bytes(raw)
    path.chmod(mode)


@pytest.mark.parametrize("raw", [b"%s", b"%s\n", b"%s\r\n", b"%s\n\n"])
def test_a_file_beside_the_configuration(config_file: Path, raw: bytes) -> None:
    write_secret(config_file.parent / "secret", raw % SECRET.encode())
    assert find_secret({"file": "secret"}, config_file) == FoundSecret(SECRET)


def test_a_credential_of_systemd(config_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(config_file.parent))
    write_secret(config_file.parent / "webhook_secret", SECRET.encode(), 0o400)
    assert find_secret({"credential": "webhook_secret"}, config_file) == FoundSecret(SECRET)


def test_an_environment_variable(config_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTMSD_TEST_SECRET", SECRET)
    assert find_secret({"env": "RTMSD_TEST_SECRET"}, config_file) == FoundSecret(SECRET)


def test_in_the_configuration_itself(config_file: Path) -> None:
    assert find_secret({"value": SECRET}, config_file) == FoundSecret(SECRET)


def test_a_secret_that_everybody_can_read_is_a_warning(config_file: Path) -> None:
    path = config_file.parent / "secret"
    write_secret(path, SECRET.encode(), 0o644)
    found = find_secret({"file": str(path)}, config_file)
    assert (found.text, found.warning) == (SECRET, f"{path} can be read by every user of this machine; chmod o-r")

    config_file.chmod(0o644)
    assert str(config_file) in find_secret({"value": SECRET}, config_file).warning


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (SECRET, "not as a plain text"),
        (5, "must be { file"),
        ({}, "must be { file"),
        ({"fil": SECRET}, "must be { file"),
        ({"value": 5}, "must be { file"),
        ({"value": SECRET, "env": "X"}, "exactly one of"),
        ({"value": ""}, "the value is empty"),
        ({"value": "\n"}, "the value is empty"),
        ({"value": f"{SECRET} {SECRET}"}, "blanks"),
        ({"value": f" {SECRET}"}, "blanks"),
        ({"value": f"{SECRET}\x00"}, "control characters"),
        ({"env": "RTMSD_TEST_NONE"}, "environment variable RTMSD_TEST_NONE is not set"),
        ({"env": "RTMSD_TEST_EMPTY"}, "environment variable RTMSD_TEST_EMPTY is empty"),
        ({"env": ""}, "is not set"),
        ({"file": ""}, "must name a file"),
        ({"file": "~/secret"}, "~ has no meaning"),
        ({"file": "none"}, "there is no file"),
        ({"file": "."}, "is not a regular file"),
        ({"file": "fifo"}, "is not a regular file"),
        ({"file": "empty"}, "is empty"),
        ({"file": "blank"}, "is empty"),
        ({"file": "two-lines"}, "line breaks"),
        ({"file": "latin-1"}, "not UTF-8"),
        ({"file": "long"}, "longer than"),
        ({"file": "secret/x"}, "cannot read"),
        ({"credential": "none"}, "there is no file"),
        ({"credential": "../secret"}, "without slashes"),
        ({"credential": ".."}, "without slashes"),
        ({"credential": ""}, "without slashes"),
    ],
)
def test_a_mistake_never_holds_the_secret(
    config_file: Path, monkeypatch: pytest.MonkeyPatch, source: object, words: str
) -> None:
    directory = config_file.parent
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(directory))
    monkeypatch.setenv("RTMSD_TEST_EMPTY", "")
    os.mkfifo(directory / "fifo")
    write_secret(directory / "secret", SECRET.encode())
    write_secret(directory / "empty", b"")
    write_secret(directory / "blank", b"\r\n")
    write_secret(directory / "two-lines", f"{SECRET}\n{SECRET}\n".encode())
    write_secret(directory / "latin-1", SECRET.encode() + b"\xe4")
    write_secret(directory / "long", SECRET.encode() * MAX_BYTES)
    with pytest.raises(Mistake) as caught:
        find_secret(source, config_file)
    assert words in str(caught.value)
    assert SECRET not in str(caught.value)


def test_credentials_without_systemd(config_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(Mistake, match=r"CREDENTIALS_DIRECTORY is not set.*LoadCredential="):
        find_secret({"credential": "webhook_secret"}, config_file)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_to_read(config_file: Path) -> None:
    write_secret(config_file.parent / "secret", SECRET.encode(), 0o000)
    with pytest.raises(Mistake, match=r"cannot read .*Permission denied"):
        find_secret({"file": "secret"}, config_file)
