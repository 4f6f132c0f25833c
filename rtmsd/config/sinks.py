"""Sections [[sink]]: the keys that all have, and those of each kind. `rtmsd/sinks/registry.py` makes sinks of them."""

import importlib.util
import os
import shutil
import sys
from collections.abc import Mapping
from typing import Annotated, Final, Literal

import attrs

from rtmsd.config.rules.values import NAME, Between, Mistake, Seconds, not_empty, not_placeholder


def program(value: tuple[str, ...]) -> None:
    """Accept a full path, or a name to be looked up in PATH, and arguments that a program can be given."""
    if any("\0" in argument for argument in value):
        raise Mistake("holds a NUL, which no argument can")
    name = next(iter(value), "")
    not_placeholder(name)
    if not name or ("/" in name and not name.startswith("/")):
        raise Mistake(f"{name!r} must be a full path, or a name without slashes that is found in PATH")


@attrs.frozen(kw_only=True)
class SinkConfig:
    name: Annotated[str, NAME]
    kind: str
    timeout_s: Seconds = 60
    parallel: Annotated[int, Between(1, 100)] = 4
    retry_s: tuple[Seconds, ...] = (5, 60, 600, 3600)

    def unusable(self) -> tuple[str, str] | None:
        """The key, and why this machine cannot do what it names; None: it can."""
        return None


@attrs.frozen(kw_only=True)
class ExecConfig(SinkConfig):
    kind: Literal["exec"]
    command: Annotated[tuple[str, ...], not_empty, program]

    def unusable(self) -> tuple[str, str] | None:
        if shutil.which(self.command[0]) is not None:
            return None
        there = os.path.lexists(self.command[0])
        return "command", f"{self.command[0]} {'cannot be executed' if there else 'is not there'}"


@attrs.frozen(kw_only=True)
class RemuxConfig(SinkConfig):
    """What `recording.remux` makes: a sink without a section, whose name no section can have.

    Attributes:
        formats: "off", "mkv" or "mp4", by the name of the app.
    """

    name: str = "recording:remux"
    kind: Literal["remux"] = "remux"
    timeout_s: Seconds = 6 * 3600
    parallel: int = 1
    formats: Mapping[str, str]

    def unusable(self) -> tuple[str, str] | None:
        if importlib.util.find_spec("av") is not None:  # not imported: the daemon never does
            return None
        return "recording.remux", f"the package 'av' is missing in {sys.prefix}: pip install 'rtmsd[media]'"


KINDS: Final[Mapping[str, type[SinkConfig]]] = {"exec": ExecConfig}
