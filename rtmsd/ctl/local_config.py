"""The configuration file, read with the daemon's own reader."""

import os
from pathlib import Path
from typing import Final

from rtmsd.config import Config, load
from rtmsd.ctl.context import Context
from rtmsd.ctl.errors import CtlError, Exit
from rtmsd.errors import ConfigError

DEFAULT_FILE: Final = Path("/etc/rtmsd/config.toml")
SERVICE_CREDENTIALS: Final = Path("/run/credentials/rtmsd.service")


class WrongConfig(CtlError):
    """The file holds mistakes, one line each."""

    def __init__(self, path: Path, mistakes: list[str]) -> None:
        super().__init__(Exit.FAILED, f"{path} is wrong", "\n".join(mistakes))
        self.mistakes = mistakes


def config_file(context: Context) -> Path:
    """Return the file that was named, else the running daemon's, else the usual one."""
    if context.args.file is not None:
        return Path(context.args.file)
    try:
        named = context.client.get("/v1/status").get("config_file")
    except CtlError as error:
        if error.exit_code is not Exit.UNREACHABLE:
            raise
        named = None
    return Path(named) if named else DEFAULT_FILE


def read_config(path: Path) -> Config:
    """Read and check a configuration.

    Secrets given as `{ credential = ... }` are read from the service's credentials directory.

    Raises:
        WrongConfig: with all its mistakes.
        CtlError: it cannot be read.
    """
    if SERVICE_CREDENTIALS.is_dir():
        os.environ.setdefault("CREDENTIALS_DIRECTORY", str(SERVICE_CREDENTIALS))
    try:
        return load(path)
    except ConfigError as error:
        match error.__cause__:
            case PermissionError():
                hint = "It is for root and the daemon: use sudo."
                raise CtlError(Exit.NOT_PERMITTED, str(error), hint) from error
            case OSError():
                hint = "Name the file; a running daemon knows its own."
                raise CtlError(Exit.FAILED, str(error), hint) from error
        raise WrongConfig(path, error.mistakes) from error
