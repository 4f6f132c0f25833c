"""The way from a file to a checked `Config`, or to all of its mistakes at once."""

import tomllib
from pathlib import Path

import attrs

from rtmsd.config.checks import check
from rtmsd.config.model import Config
from rtmsd.config.reading import Reader
from rtmsd.errors import ConfigError


def load(path: Path | str) -> Config:
    """Read and check a configuration. Nothing is written and nobody is connected to.

    Raises:
        ConfigError: with all mistakes, one line each. Its cause is the OSError when the file cannot be read.
    """
    path = Path(path).absolute()
    reader = Reader(Config, path)
    config = reader.table(Config, _parse(path))
    assert config is not None, "every section has defaults"
    check(config, reader)
    if reader.mistakes:
        raise ConfigError([f"{key}: {text}" for key, text in reader.mistakes.items()])
    return attrs.evolve(config, warnings=tuple(reader.warnings), given=frozenset(reader.given))


def _parse(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))  # some editors put a mark in front
    except OSError as exc:
        raise ConfigError([f"cannot read {path}: {exc.strerror}"]) from exc
    except UnicodeDecodeError as exc:
        line = exc.object.count(b"\n", 0, exc.start) + 1
        raise ConfigError([f"{path}: not UTF-8 text (line {line})"]) from None
    except ValueError as exc:  # `TOMLDecodeError`, and those of int() and date()
        raise ConfigError([f"{path}: not TOML: {exc}"]) from None
    except RecursionError:
        raise ConfigError([f"{path}: not TOML: nested too deeply"]) from None
