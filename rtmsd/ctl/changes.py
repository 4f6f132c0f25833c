"""Changes of the configuration, as `reload` and `config diff` tell them."""

import json
from collections.abc import Sequence
from typing import Any

from rtmsd.ctl.formatting import printable
from rtmsd.ctl.output import Item, Output, Style


def show_changes(out: Output, changes: Sequence[Item], note: str = "") -> None:
    """Write one line a change: `path`, `old`, `new`, and what only a restart would bring about.

    Args:
        note: what a person at a terminal is to know of all this.
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
    """Return a value much as the file has it."""
    return "unset" if value is None else printable(json.dumps(value, ensure_ascii=False))
