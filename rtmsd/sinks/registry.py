"""The kinds of [[sink]]: the factory of each. Their keys are in `rtmsd/config/sinks.py`."""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

from rtmsd.config.sinks import SinkConfig
from rtmsd.sinks.base import ArchiveSink
from rtmsd.sinks.exec import ExecSink
from rtmsd.sinks.remux import RemuxSink

FACTORIES: Final[Mapping[str, Callable[[Any, Mapping[str, str]], ArchiveSink]]] = {
    "exec": ExecSink,
    "remux": RemuxSink,
}
"""By kind: called with the section, whose class is the one of `config.sinks.KINDS`, and `inheritable` of the
environment. "remux" has no section: `Config.archive_sinks` makes it."""

SERVICE_MANAGER: Final = (
    *("CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "LISTEN_", "WATCHDOG_", "JOURNAL_STREAM", "MAINPID", "MANAGERPID"),
    *("SYSTEMD_EXEC_PID", "FDSTORE", "MEMORY_PRESSURE_"),
)
"""Beginnings of names that concern the daemon alone."""
CONTAINED_CHARS: Final = 8  # a shorter secret may be part of any text


def build(sinks: Sequence[SinkConfig], secrets: Collection[str]) -> dict[str, ArchiveSink]:
    """Return the sinks of a configuration by name.

    Args:
        secrets: what nothing that they start is to see.
    """
    environment = inheritable(os.environ, secrets)
    return {sink.name: FACTORIES[sink.kind](sink, environment) for sink in sinks}


def inheritable(environment: Mapping[str, str], secrets: Collection[str]) -> dict[str, str]:
    """Return an environment without what is the daemon's alone: credentials, and the service manager's variables.

    Args:
        secrets: the configuration's: a variable that holds one goes, whether it was read from there or not.
    """
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith(SERVICE_MANAGER) and not _holds_secret(value, secrets)
    }


def _holds_secret(value: str, secrets: Collection[str]) -> bool:
    return any(
        value.rstrip("\r\n") == secret or (len(secret) >= CONTAINED_CHARS and secret in value) for secret in secrets
    )
