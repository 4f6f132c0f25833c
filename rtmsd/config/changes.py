"""Changes between two configurations, for a reload, and the display of one: secrets masked."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import attrs

from rtmsd.config.model import AppConfig, Config, file_fields
from rtmsd.config.overrides import Overrides
from rtmsd.masking import MASK


def _restart_bound(section: type, prefix: str = "") -> Iterator[str]:
    for key, field in file_fields(section):
        inner = field.type if field.type is not None and attrs.has(field.type) else None
        if "restart_bound" in field.metadata:
            yield prefix + key + ("." if inner else "")
        elif inner:
            yield from _restart_bound(inner, f"{prefix}{key}.")


NEEDS_RESTART: Final = tuple(_restart_bound(Config))
"""Beginnings of the paths of keys that a reload does not change."""

_OF_APP: Final = re.compile(r"app\[[^]]*\]\.")


def needs_restart(path: str) -> bool:
    """Return whether a reload leaves a key as it is: of the whole file, or the same one under an app."""
    return _OF_APP.sub("", path, count=1).startswith(NEEDS_RESTART)


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
        Change(path, was.shown(), now.shown(), needs_restart(path))
        for path in before | after
        if (was := before.get(path, _ABSENT)) != (now := after.get(path, _ABSENT))
    ]


def until_restart(old: Config, new: Config) -> Config:
    """Return what is in force after a reload: the new file, but for what needs a restart."""
    before = {app.name: app for app in old.apps}
    apps = tuple(_kept_app(before.get(app.name), app) for app in new.apps)
    return attrs.evolve(new, apps=apps, **_kept(old, new))


def _kept_app(old: AppConfig | None, new: AppConfig) -> AppConfig:
    """Return an app with those of its own keys that it had; one that is new waits for them with the file's."""
    kept: dict[str, Any] = {}
    for name in OVERRIDDEN:
        after: Overrides[Any] = getattr(new, name)
        before: Overrides[Any] = getattr(old, name, Overrides())
        values = [(key, value) for key, value in before.values if needs_restart(f"{name}.{key}")]
        values += [(key, value) for key, value in after.values if not needs_restart(f"{name}.{key}")]
        kept[name] = attrs.evolve(after, values=tuple(sorted(values)), path=after.path or before.path)
    return attrs.evolve(new, **kept)


OVERRIDDEN: Final = ("media", "recording")
"""Sections whose keys may stand under an app."""


def effective(config: Config) -> dict[str, dict[str, dict[str, Any]]]:
    """Return what holds for each app, by its name and the key: `{"value": ..., "from": "app" | "file" | "default"}`."""
    return {app.name: dict(_effective(config, app)) for app in config.apps}


def _effective(config: Config, app: AppConfig) -> Iterator[tuple[str, dict[str, Any]]]:
    in_force = config.of_app(app.name)
    for name in OVERRIDDEN:
        own, section = getattr(app, name), getattr(in_force, name)
        wide = {key for key, field in file_fields(type(section)) if "file_wide" in field.metadata}
        for key, leaf in _leaves(section):
            if key not in wide:
                path = f"{name}.{key}"
                source = "app" if key in own else "file" if path in config.given else "default"
                yield path, {"value": leaf.shown(), "from": source}


def _kept(old: Any, new: Any) -> dict[str, Any]:
    kept = {}
    for _, field in file_fields(type(new)):
        before, after = getattr(old, field.name), getattr(new, field.name)
        if "restart_bound" in field.metadata:
            kept[field.name] = before
        elif attrs.has(type(after)):
            kept[field.name] = attrs.evolve(after, **_kept(before, after))
    return kept


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
        if isinstance(value, Overrides):
            yield from ((f"{prefix}{key}.{own}", _Leaf(found, is_secret=False)) for own, found in value.values)
        elif attrs.has(type(value)):
            yield from _leaves(value, f"{prefix}{key}.")
        elif _is_list_of_sections(key):
            for item in value:
                yield from _leaves(item, f"{prefix}{key}[{item.name}].")
        else:
            yield prefix + key, _leaf(field, value)


def _masked(section: Any) -> dict[str, Any]:
    masked: dict[str, Any] = {}
    for key, field in file_fields(type(section)):
        value = getattr(section, field.name)
        if isinstance(value, Overrides):
            masked |= {key: value.nested()} if value.values else {}
        elif attrs.has(type(value)):
            masked[key] = _masked(value)
        elif _is_list_of_sections(key):
            masked[key] = [_masked(item) for item in value]
        else:
            masked[key] = _leaf(field, value).shown()
    return masked


def _leaf(field: "attrs.Attribute[Any]", value: object) -> _Leaf:
    return _Leaf(value, is_secret=not field.repr and value != "")  # an empty one hides nothing


def _is_list_of_sections(key: str) -> bool:
    """Say whether the file has [[key]]: sections that go by their names."""
    return key in {"app", "sink"}
