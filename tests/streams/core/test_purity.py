"""The core has no Trio, no socket, no clock and no log, and nothing of the drivers."""

import ast
from pathlib import Path

import pytest

from rtmsd.streams import core

FORBIDDEN = {"trio", "socket", "time", "datetime", "structlog", "logging", "random", "os", "threading"}
MODULES = sorted(Path(core.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_module_of_the_core_imports_nothing_that_acts(path: Path) -> None:
    imported: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module or "")
    assert not {name.partition(".")[0] for name in imported} & FORBIDDEN
    ours = {name for name in imported if name.startswith("rtmsd.streams.")}
    assert all(name.startswith("rtmsd.streams.core.") for name in ours)
    assert not [name for name in imported if name.startswith(("rtmsd.recording", "rtmsd.transport", "rtmsd.http"))]
