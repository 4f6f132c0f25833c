"""The documents against the tree: each path they name is there, and the lists of files to change are short."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_layout import LAYERS

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "rtmsd"
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / ".github").glob("*.md")), ROOT / "config.toml")

TREE_COLUMN = 22
"""Where the descriptions in README's tree begin."""

LAYER = {package: number for number, layer in enumerate(LAYERS) for package in layer}
FILES_AT_MOST = {"A sink": 3, "A medium": 6, "A product": 2, "A command": 4, "A configuration key": 2}

_NAME = r"[\w.<>-]+"
_PATH = re.compile(rf"(?<![\w/.~:>-]){_NAME}(?:/{_NAME})+")
_LINK = re.compile(r"\]\(([^)#:]+)\)")
_ITEM = re.compile(r"^\d+\. (.*)$", re.MULTILINE)


def exists(path: str, below: Path) -> bool:
    """Whether a path is there; a part as <kind> stands for any, and a module may go without its ".py"."""
    pattern = re.sub(r"<\w+>", "*", path.rstrip("/."))
    return any(any(below.glob(name)) for name in (pattern, f"{pattern}.py"))


def paths_in(text: str) -> Iterator[str]:
    """Yield what begins with the name of something in the repository or in the package."""
    ours = {path.name for place in (ROOT, PACKAGE) for path in place.iterdir()} - {".venv", "benchmark"}
    yield from (path for path in _PATH.findall(text) if path.partition("/")[0] in ours)


def tree() -> Iterator[tuple[Path, str]]:
    """Yield each place in README's tree, and its description."""
    block = (ROOT / "README.md").read_text().partition("```\nrtmsd/\n")[2].partition("```")[0]
    parents = [ROOT, PACKAGE]
    for line in ["rtmsd/", *block.splitlines()]:
        depth = (len(line) - len(line.lstrip())) // 2
        names = line[:TREE_COLUMN].split()
        for name in names:
            yield parents[depth] / name, line[TREE_COLUMN:]
        parents[depth + 1 :] = [parents[depth] / names[-1]]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_each_path_in_a_document_is_there(document: Path) -> None:
    text = document.read_text()
    missing = [path for path in paths_in(text) if not (exists(path, ROOT) or exists(path, PACKAGE))]
    links = [link for link in _LINK.findall(text) if not (document.parent / link).exists()]
    assert (missing, links) == ([], [])


def test_readmes_tree_is_the_tree() -> None:
    places = dict(tree())
    named = [path / name for path, what in places.items() for name in re.findall(r"[\w/]+\.py", what)]
    within = [path.relative_to(PACKAGE) for path in (*places, *named) if PACKAGE in path.parents]
    assert [path for path in within if not exists(path.as_posix(), PACKAGE)] == []
    assert [path for path in places if PACKAGE not in path.parents and not path.exists()] == []
    layers = [LAYER[path.stem] for path in places if path.parent == PACKAGE]
    assert layers == sorted(layers), "a package imports from rows above its own"
    packages = {path.parent for path in PACKAGE.glob("*/__init__.py")}
    assert packages - places.keys() == set()


def test_the_lists_of_files_to_change_are_short() -> None:
    text = (ROOT / ".github" / "CONTRIBUTING.md").read_text().partition("## Files to change")[2]
    lists = dict(re.findall(r"\*\*([^*]+)\*\*(.*?)(?=\n\*\*|\n## )", text, re.DOTALL))
    for name, at_most in FILES_AT_MOST.items():
        first = [re.findall(r"`([\w/<>]+\.\w+)`", item.partition(":")[0]) for item in _ITEM.findall(lists[name])]
        files = [path for item in first for path in item]
        assert 1 <= len(files) <= at_most, name
        assert [path for path in files if not (exists(path, PACKAGE) or exists(path, ROOT))] == []
