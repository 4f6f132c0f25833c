"""What a changed file changes, for a reload, and a configuration as a person may see it: secrets masked."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import attrs

from rtmsd.config.model import AppConfig, Config, file_fields
from rtmsd.masking import MASK

# Sockets, files and the writer are opened once. All else holds for the next webhook, stream or log line.
NEEDS_RESTART: Final = (
    "webhook.",
    "recording.directory",
    "recording.sync_interval_s",
    "recording.buffer_bytes",
    "state.",
    "admin.",
)


@attrs.frozen
class Change:
    """One key with two values. `old` is None where an app is new, `new` where it is gone; apps go by name."""

    path: str
    old: object
    new: object
    needs_restart: bool


@attrs.frozen
class _Leaf:
    """A value that is no section. Compared whole, shown masked."""

    value: object = attrs.field(repr=False)
    is_secret: bool

    def shown(self) -> object:
        if self.is_secret:
            return MASK
        if isinstance(self.value, tuple):
            return list(self.value)
        return str(self.value) if isinstance(self.value, Path) else self.value


_ABSENT: Final = _Leaf(None, is_secret=False)


def describe_changes(old: Config, new: Config) -> list[Change]:
    """List the keys that differ, in the order of the file, secrets masked."""
    before, after = dict(_leaves(old)), dict(_leaves(new))
    return [
        Change(path, was.shown(), now.shown(), path.startswith(NEEDS_RESTART))
        for path in before | after
        if (was := before.get(path, _ABSENT)) != (now := after.get(path, _ABSENT))
    ]


def until_restart(old: Config, new: Config) -> Config:
    """Return what is in force after a reload: the new file, but for what needs a restart."""
    opened_once = {key: getattr(old.recording, key) for key in ("directory", "sync_interval_s", "buffer_bytes")}
    return attrs.evolve(
        new,
        webhook=old.webhook,
        recording=attrs.evolve(new.recording, **opened_once),
        state=old.state,
        admin=old.admin,
    )


def as_masked_dict(config: Config) -> dict[str, Any]:
    """Return the whole configuration, defaults included, under the keys of the file and as JSON knows values."""
    return _masked(config)


def secrets_of(config: Config) -> frozenset[str]:
    """Return every secret of a configuration, so that the log can be kept clean of them."""
    secrets: set[str] = set()
    for _, leaf in _leaves(config):
        if leaf.is_secret:
            secrets.update(leaf.value if isinstance(leaf.value, tuple) else [str(leaf.value)])
    return frozenset(secrets)


def _leaves(section: Any, prefix: str = "") -> Iterator[tuple[str, _Leaf]]:
    for key, field in file_fields(type(section)):
        value = getattr(section, field.name)
        if attrs.has(type(value)):
            yield from _leaves(value, f"{prefix}{key}.")
        elif _is_app_list(value):
            for app in value:
                yield from _leaves(app, f"{prefix}{key}[{app.name}].")
        else:
            yield prefix + key, _Leaf(value, is_secret=not field.repr)


def _masked(section: Any) -> dict[str, Any]:
    masked: dict[str, Any] = {}
    for key, field in file_fields(type(section)):
        value = getattr(section, field.name)
        if attrs.has(type(value)):
            masked[key] = _masked(value)
        elif _is_app_list(value):
            masked[key] = [_masked(app) for app in value]
        else:
            masked[key] = _Leaf(value, is_secret=not field.repr).shown()
    return masked


def _is_app_list(value: object) -> bool:
    return isinstance(value, tuple) and any(isinstance(item, AppConfig) for item in value)
