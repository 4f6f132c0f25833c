"""Secrets, which the configuration file only refers to. No message here ever holds one."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import attrs

from rtmsd.config.rules.values import Mistake, resolve

CREDENTIALS_DIRECTORY: Final = "CREDENTIALS_DIRECTORY"
MAX_BYTES: Final = 4096
FORMS: Final = '{ file = "/path" }, { credential = "name" }, { env = "NAME" } or { value = "..." }'


class _Secret:
    """Marks a key whose value in the file is one of `FORMS`."""


SECRET: Final = _Secret()
Secret: TypeAlias = Annotated[str, SECRET]


@attrs.frozen
class FoundSecret:
    """The secret, and a warning about the way it is kept, or ""."""

    text: str = attrs.field(repr=False)
    warning: str = ""


def find_secret(source: object, config_file: Path) -> FoundSecret:
    """Follow `{ file | credential | env | value = "..." }` to the secret; newlines at its end are dropped.

    Args:
        source: the value in the file.
        config_file: where it stands; relative file names start from its directory.

    Raises:
        Mistake: not one of the forms, nothing there, unreadable, empty, or text that cannot be a secret.
    """
    match source:
        case {"value": str(text), **others} if not others:
            return FoundSecret(_checked(text, "the value"), _too_open(config_file, config_file.stat().st_mode))
        case {"env": str(name), **others} if not others:
            return FoundSecret(_checked(_from_environment(name), f"environment variable {name}"))
        case {"credential": str(name), **others} if not others:
            return _from_file(_credentials_directory() / _credential_name(name))
        case {"file": str(name), **others} if not others:
            return _from_file(resolve(name, config_file.parent))
        case str():
            raise Mistake('a secret is written { value = "..." }, or better { file = "/path" }, not as a plain text')
        case _:
            raise Mistake(_wrong_form(source))


def _wrong_form(source: object) -> str:
    if isinstance(source, Mapping) and len(source) > 1:
        return f"takes exactly one of {FORMS}, not {len(source)} keys together"
    return f"must be {FORMS}"


def _from_environment(name: str) -> str:
    try:
        return os.environ[name]
    except KeyError:
        raise Mistake(f"environment variable {name} is not set") from None


def _credentials_directory() -> Path:
    directory = os.environ.get(CREDENTIALS_DIRECTORY)
    if not directory:
        raise Mistake(
            f"${CREDENTIALS_DIRECTORY} is not set: systemd sets it for a unit with LoadCredential=; "
            'elsewhere use { file = "/path" }'
        )
    return Path(directory)


def _credential_name(name: str) -> str:
    if "/" in name or name in ("", ".", "..") or not name.isprintable():
        raise Mistake(f"credential {name!r} must be a name without slashes, as in LoadCredential=")
    return name


def _from_file(path: Path) -> FoundSecret:
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):  # also keeps us from waiting on a FIFO
            raise Mistake(f"{path} is not a regular file")
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise Mistake(f"there is no file {path}; create it with the secret as its only line") from None
    except OSError as exc:
        raise Mistake(f"cannot read {path}: {exc.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise Mistake(f"{path} is longer than {MAX_BYTES} bytes: not a secret")
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise Mistake(f"{path} is not UTF-8 text") from None
    return FoundSecret(_checked(text, str(path)), _too_open(path, mode))


def _too_open(path: Path, mode: int) -> str:
    return f"{path} can be read by every user of this machine; chmod o-r" if mode & stat.S_IROTH else ""


def _checked(text: str, where: str) -> str:
    secret = text.rstrip("\r\n")
    if not secret:
        raise Mistake(f"{where} is empty")
    if not secret.strip(".…"):
        raise Mistake(f"{where} still holds the dots of the example: put the secret in their place")
    if any(char.isspace() or not char.isprintable() for char in secret):
        raise Mistake(f"{where} holds blanks, line breaks or control characters; a secret of Zoom's is one word")
    return secret
