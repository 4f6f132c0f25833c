"""The layout of the package: imports go one way, without circles, and no module or package outgrows its reader.

`LAYERS` is the architecture, lowest first: a module imports from layers below its own, or from its own package.
Imports under `TYPE_CHECKING` and inside functions count like any other.
"""

import ast
import statistics
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1] / "rtmsd"

LAYERS: Final = (
    ("masking", "nearest", "terminal", "command_line"),
    ("errors", "demo_extra"),
    ("protocol", "system"),
    ("commands", "log", "accelerator"),
    ("config.rules",),
    ("config",),
    ("transport", "http"),
    ("state.file",),
    ("state",),
    ("sinks",),
    ("recording.manifest",),
    ("recording.timeline", "recording.disk"),
    ("recording.media.codecs", "recording.media.images", "recording.media.wav"),
    ("recording.media.ogg",),
    ("recording.media",),
    ("recording.library", "recording.verify"),
    ("recording.recovery",),
    ("recording.gather",),
    ("recording",),
    ("export",),
    ("export.audio", "export.text"),
    ("export.film", "export.page"),
    ("zoom_api",),
    ("streams.core.video",),
    ("streams.core",),
    ("streams.drivers",),
    ("streams",),
    ("cluster",),
    ("cluster.life", "cluster.keeping", "cluster.handover"),
    ("cluster.parts",),
    ("cluster.engines",),
    ("cluster.engines.nats",),
    ("webhook", "admin"),
    ("admin.fleet",),
    ("daemon",),
    ("node",),
    ("workers",),
    ("ctl",),
    ("ctl.verbs",),
    ("simulator.model",),
    ("simulator.wire",),
    ("simulator.media",),
    ("simulator.stream",),
    ("simulator.server",),
    ("simulator.scenario",),
    ("simulator.cli",),
    ("simulator",),
    ("demo",),
    ("demo.incidents",),
    ("demo.workers", "demo.cluster"),
    ("cli",),
    ("__main__",),
)
UNBOUNDED: Final = ("ctl", "ctl.verbs", "protocol")
"""Packages that are tables: a module for each verb, and for each kind of message."""


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES: Final = {_name(path): path for path in sorted(ROOT.rglob("*.py")) if path != ROOT / "__init__.py"}
LENGTHS: Final = {name: len(path.read_text().splitlines()) for name, path in MODULES.items()}


def _place(module: str) -> str:
    """Return the package of a module, or the module itself where it stands beside the packages."""
    if MODULES[module].name == "__init__.py" or MODULES[module].parent == ROOT:
        return module
    return module.rpartition(".")[0]


def _imports(module: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.module.partition(".")[0] == "rtmsd":
            base = node.module.partition(".")[2]
            for alias in node.names:
                inner = f"{base}.{alias.name}".lstrip(".")
                if inner in MODULES or base in MODULES:
                    yield inner if inner in MODULES else base
        elif isinstance(node, ast.Import):
            names = [alias.name.partition(".") for alias in node.names]
            yield from (name for package, _, name in names if package == "rtmsd" and name in MODULES)


IMPORTS: Final[Mapping[str, frozenset[str]]] = {name: frozenset(_imports(name)) - {name} for name in MODULES}


@pytest.mark.parametrize("of", ["modules", "packages"])
def test_imports_make_no_circle(of: str) -> None:
    graph: dict[str, set[str]] = {}
    for module, imported in IMPORTS.items():
        if of == "modules":
            graph[module] = set(imported)
        else:
            graph.setdefault(_place(module), set()).update(_place(other) for other in imported)
    for name, others in graph.items():
        others.discard(name)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(reversed(error.args[1])))


def test_imports_go_down() -> None:
    height = {place: number for number, layer in enumerate(LAYERS) for place in layer}
    places = {_place(module) for module in MODULES}
    assert places == set(height), "LAYERS names each package, and each module beside them, once"
    upward = [
        f"{module} imports {other}"
        for module, imported in IMPORTS.items()
        for other in sorted(imported)
        if _place(other) != _place(module) and height[_place(other)] >= height[_place(module)]
    ]
    assert not upward


def test_modules_are_short() -> None:
    lengths = sorted(LENGTHS.values())
    assert {name: length for name, length in LENGTHS.items() if length > 400} == {}
    assert statistics.median(lengths) <= 115
    assert lengths[int(len(lengths) * 0.95)] <= 300


def test_packages_are_small() -> None:
    sizes: dict[str, int] = {}
    for path in ROOT.rglob("*.py"):
        package = ".".join(path.relative_to(ROOT).parent.parts)
        sizes[package] = sizes.get(package, 0) + 1
    assert {name: size for name, size in sizes.items() if size > 12 and name not in UNBOUNDED} == {}
