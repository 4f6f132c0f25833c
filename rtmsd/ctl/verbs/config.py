"""The configuration: check a file, show the one in use, compare the two."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from rtmsd.config import Config, as_masked_dict, unusable
from rtmsd.config.changes import needs_restart
from rtmsd.ctl.changes import show_changes, toml_like
from rtmsd.ctl.context import Context
from rtmsd.ctl.errors import CtlError, Exit
from rtmsd.ctl.local_config import WrongConfig, config_file, read_config
from rtmsd.ctl.output import Style
from rtmsd.terminal import printable


def check(context: Context) -> Exit:
    """Check a file offline; BAD_CONFIG names every mistake."""
    path = config_file(context)
    result = {"file": str(path), "ok": True, "mistakes": [], "warnings": []}
    try:
        config = read_config(path)
        troubles = _machine_troubles(path, config, are_mistakes=context.args.here)
    except CtlError as error:
        if error.exit_code is not Exit.FAILED:  # not permitted, or no daemon to name the file
            raise
        if not context.out.as_json:
            raise CtlError(Exit.BAD_CONFIG, str(error), error.hint) from error
        mistakes = error.mistakes if isinstance(error, WrongConfig) else [str(error)]
        context.out.json(result | {"ok": False, "mistakes": mistakes})
        return Exit.BAD_CONFIG
    warnings = [*config.warnings, *troubles]
    context.out.said(result | {"warnings": warnings}, f"{path}: ok")
    if not context.out.as_json:
        for warning in warnings:
            context.out.line(context.out.styled(printable(f"warning: {warning}"), Style.WARN))
    return Exit.OK


def _machine_troubles(path: Path, config: Config, *, are_mistakes: bool) -> list[str]:
    troubles = unusable(config)
    if troubles and are_mistakes:
        raise WrongConfig(path, troubles)
    return troubles


def show(context: Context) -> None:
    """Show the configuration in use, with all defaults and without secrets: last what holds for each app, and why."""
    config = context.client.get("/v1/config")
    if context.out.as_json:
        context.out.json(config)
        return
    effective = config.pop("effective", {})
    for path, value in flattened(config):
        if path.partition("].")[2] not in effective.get(path[4:].partition("]")[0], {}):  # else it follows
            context.out.labelled(path, toml_like(value), between=" = ")
    for app, keys in effective.items():
        context.out.section(f"what holds for app {app}")
        for path, found in keys.items():
            source = SOURCES.get(found["from"], found["from"])
            note = f"   # {source}" if context.out.terminal else f"\t{source}"
            context.out.labelled(f"app[{app}].{path}", toml_like(found["value"]) + note, between=" = ")


SOURCES: Final = {"app": "its own", "file": "file-wide", "default": "default"}


def diff(context: Context) -> None:
    """Compare the file with the configuration in use. Secrets are not compared."""
    in_use = dict(flattened({**context.client.get("/v1/config"), "effective": {}}))
    in_file = dict(flattened(as_masked_dict(read_config(config_file(context)))))
    changes = [
        {
            "path": path,
            "old": in_use.get(path),
            "new": in_file.get(path),
            "needs_restart": needs_restart(path),
        }
        for path in in_use | in_file
        if in_use.get(path) != in_file.get(path)
    ]
    if context.out.as_json:
        context.out.json(changes)
    else:
        show_changes(context.out, changes, note="secrets are not compared")


def flattened(section: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every key of a configuration with its whole path; apps and sinks go by name: `app[main].client_id`."""
    for name, value in section.items():
        path = before + name
        if isinstance(value, Mapping):
            yield from flattened(value, f"{path}.")
        elif name in {"app", "sink"}:
            for item in value:
                yield from flattened(item, f"{path}[{item['name']}].")
        else:
            yield path, value
