"""The output of changes to the configuration, for `reload` and `config diff`."""

import json
from collections.abc import Sequence
from typing import Any

from rtmsd.ctl.formatting import printable
from rtmsd.ctl.output import Item, Output, Style


def show_changes(out: Output, changes: Sequence[Item], note: str = "") -> None:
    """Write one line a change: `path`, `old`, `new`, and whether it needs a restart.

    Args:
        note: a last line for a person at a terminal.
    """
    if not out.terminal:
        for change in changes:
            when = "restart" if change["needs_restart"] else "reload"
            out.line("\t".join((printable(change["path"]), toml_like(change["old"]), toml_like(change["new"]), when)))
        return
    for change in changes:
        restart = out.styled("  (needs a restart)", Style.WARN) if change["needs_restart"] else ""
        out.line(f"{printable(change['path'])}: {toml_like(change['old'])} -> {toml_like(change['new'])}{restart}")
    if not changes:
        out.line("nothing changed")
    if note:
        out.line(out.styled(note, Style.DIM))


def toml_like(value: Any) -> str:
    """Return a value roughly as TOML writes it."""
    return "unset" if value is None else printable(json.dumps(value, ensure_ascii=False))
