"""Checks against this machine and user: directories, ports and sockets that a configuration names.

The file alone does not show these, and they may change at any time. Nothing is left on disk.
"""

import errno
import os
import pwd
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from rtmsd.config.model import Config
from rtmsd.config.rules.addresses import UNIX_PREFIX
from rtmsd.config.workers import of_each
from rtmsd.system.socket_holders import Holder, holder_of_address, holder_of_socket

_NO_TMPFILE: Final = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL})  # of file systems that have none


def unusable(config: Config) -> list[str]:
    """Return a line for each unusable thing, with its key. What a running daemon holds is not unusable."""
    lines = (f"{key}: {problem}" for key, problem in _problems(config) if problem)
    return list(dict.fromkeys(lines))  # workers may lack the same


def why_not_bound(listen: str, error: OSError | ValueError) -> str:
    """Return why "host:port" or "unix:/path" cannot be listened on, and who has it if known."""
    if isinstance(error, socket.gaierror):
        return f"cannot listen on {listen}: the name cannot be resolved: {error.strerror}"
    if not isinstance(error, OSError) or error.errno is None:
        return f"cannot listen on {listen}: {error}"
    if error.errno == errno.EADDRINUSE:
        path = Path(listen.removeprefix(UNIX_PREFIX)) if listen.startswith(UNIX_PREFIX) else None
        if path is not None and not path.is_socket():
            return f"cannot listen on {listen}: a file that is no socket is in the way"
        holder = holder_of_socket(path) if path is not None else holder_of_address(listen)
        return f"cannot listen on {listen}: in use by {holder or Holder(None)}"
    if error.errno == errno.EACCES and not listen.startswith(UNIX_PREFIX):
        return f"cannot listen on {listen}: ports below 1024 are for root: choose a higher one"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"cannot listen on {listen}: this machine has no such address"
    return f"cannot listen on {listen}: {error.strerror}"


def _problems(config: Config) -> Iterator[tuple[str, str]]:
    for each in of_each(config):
        for directory in each.directories:
            yield each.directory_key(directory), _directory(directory)
        yield "state.file", _file(each.state.file)
    for index, sink in enumerate(config.sinks):
        if (unusable := sink.unusable()) is not None:
            yield f"sink[{index}].{unusable[0]}", unusable[1]
    for built_in in config.archive_sinks[len(config.sinks) :]:
        if (unusable := built_in.unusable()) is not None:
            yield unusable
    daemon = holder_of_socket(config.admin.socket)
    if daemon is not None and (daemon.is_rtmsd or daemon.pid in (None, _locked_by(config.recording.directory))):
        return  # the daemon's own sockets
    yield "admin.socket", _socket(config.admin.socket, daemon)
    yield "webhook.listen", _listener(config.webhook.listen)
    if config.admin.metrics_listen:
        yield "admin.metrics_listen", _listener(config.admin.metrics_listen)


def _locked_by(directory: Path) -> int | None:
    """Return the process that says in the lock file that the recordings are its own."""
    try:
        return int((directory / ".rtmsd.lock").read_bytes()[:20])
    except (OSError, ValueError):
        return None


def _directory(path: Path) -> str:
    """Return why nothing can be created in a directory, which may have to be created itself; "" when it can."""
    for there in (path, *path.parents):
        try:
            mode = there.stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            return f"{there}: {error.strerror}"
        if not stat.S_ISDIR(mode):
            return f"{there} is a file, not a directory"
        if reason := _why_not_written(there):
            return f"{there} cannot be written by user {_user()}: {reason}"
        return ""
    return f"{path} cannot be made"


def _why_not_written(directory: Path) -> str:
    """Create a file and remove it at once: permissions alone do not show whether the disk accepts it."""
    try:
        try:
            os.close(os.open(directory, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600))  # it never has a name
        except OSError as error:
            if error.errno not in _NO_TMPFILE:
                raise
            with tempfile.NamedTemporaryFile(dir=directory, prefix=".rtmsd-check-"):
                pass
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _file(path: Path) -> str:
    try:
        mode = path.stat().st_mode
    except OSError:
        return _directory(path.parent)
    if stat.S_ISDIR(mode):
        return f"{path} is a directory"
    if not os.access(path, os.R_OK | os.W_OK, effective_ids=True):
        return f"{path} cannot be read and written by user {_user()}"
    return _directory(path.parent)  # SQLite makes files beside it


def _socket(path: Path, holder: Holder | None) -> str:
    with suppress(OSError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return f"{path} is there already, and no socket"
    return f"{path} is in use by {holder}" if holder is not None else _directory(path.parent)


def _listener(listen: str) -> str:
    if listen.startswith(UNIX_PREFIX):
        path = Path(listen.removeprefix(UNIX_PREFIX))
        if not path.parent.is_dir():
            return f"there is no directory {path.parent}"
        return _socket(path, holder_of_socket(path))
    host, _, port = listen.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in found:
            with socket.socket(family, kind, protocol) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.bind(address)
    except (OSError, UnicodeError) as error:
        return why_not_bound(listen, error)
    return ""


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
