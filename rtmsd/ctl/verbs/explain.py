"""explain: the meaning of a number or word of Zoom or rtmsd, its causes, and what to do."""

import shutil
import textwrap
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Final

from rtmsd.ctl.context import Context
from rtmsd.ctl.errors import Exit
from rtmsd.ctl.glossary import WORDS
from rtmsd.ctl.numbers import OTHER_NUMBERS
from rtmsd.ctl.output import Output, Style
from rtmsd.protocol import explanations as zoom
from rtmsd.terminal import complain

Explained = dict[str, str | int | None]

MAX_WIDTH: Final = 100
LINES: Final = ("meaning", "cause", "remedy")
MAX_NAME_WORDS: Final = 8
KNOWN: Final = (
    "Known are stop reasons, status codes, states, causes of gaps, close codes, HTTP answers, exit statuses, and the "
    "words of `rtmsctl status` and `cluster status`: `explain stop 18`, `explain paused`, `explain 1006`."
)
KINDS: Final = (*zoom.TABLES, *WORDS, *OTHER_NUMBERS)
_PUNCTUATION: Final = ".;:!?()[]\"'`"


def explain(context: Context) -> Exit:
    """Explain everything that the words can mean: numbers and names, each with its kind before it if that is known."""
    found, unknown = read(" ".join(context.args.words))
    if found:
        _show(context.out, found)
    if unknown or not found:
        complain(f"rtmsctl: unknown: {', '.join(map(repr, unknown or ['']))}{_nearest(unknown)}\n{KNOWN}")
        return Exit.FAILED
    return Exit.OK


def read(text: str) -> tuple[list[Explained], list[str]]:
    """Return what the codes and names in a text can mean, and those that mean nothing.

    A name may be of several words, as people write it ("invalid signature"); a word before a code, such as "stop" or
    "status", is its kind.
    """
    words = [word.strip(_PUNCTUATION) for word in text.replace(",", " ").split()]
    words = [word for word in words if word]
    found: list[Explained] = []
    unknown: list[str] = []
    kind: list[str] = []
    at = 0
    while at < len(words):
        for length in range(min(MAX_NAME_WORDS, len(words) - at), 0, -1):
            name = "_".join(words[at : at + length])
            if length > 1 and any(word.isdecimal() for word in words[at : at + length]):
                continue  # a number stands for itself
            if length == 1 and at + 1 < len(words) and _is_kind([*kind, name]):
                continue  # "stop 18": the kind of what follows
            wanted = " ".join(kind).lower()
            if items := [item for item in meanings(name) if str(item["kind"]).lower().startswith(wanted)]:
                found += [item for item in items if item not in found]
                kind, at = [], at + length
                break
        else:
            if _is_kind([*kind, words[at]]) and at + 1 < len(words):
                kind += words[at].replace("_", " ").split()
            else:
                unknown.append(" ".join([*kind, words[at]]))
                kind = []
            at += 1
    return found, unknown


def _is_kind(words: list[str]) -> bool:
    start = " ".join(words).replace("_", " ").lower()
    return any(kind.lower() == start or kind.lower().startswith(f"{start} ") for kind in KINDS)


def meanings(code: str) -> Iterator[Explained]:
    """Yield what a number or a name stands for: Zoom's numbers first, then rtmsd's own words, then common ones."""
    for kind, number, meaning in zoom.explain(code):
        yield {"kind": kind, "number": number, **meaning._asdict()}
    name = code.lower().replace("-", "_")
    for kind, words in WORDS.items():
        if (own := words.get(name)) is not None:
            yield {"kind": kind, "number": None, **own._asdict()}
    for kind, numbers in OTHER_NUMBERS.items():
        for number, meaning in numbers.items():
            if code == str(int(number)) or name == meaning.name.lower():
                yield {"kind": kind, "number": int(number), **meaning._asdict()}


def _nearest(unknown: list[str]) -> str:
    names = {meaning.name.lower() for table in zoom.TABLES.values() for meaning in table.values()}
    names |= {name for words in WORDS.values() for name in words}
    near = [
        match
        for word in unknown
        for match in get_close_matches(word.lower().replace(" ", "_"), names, n=1, cutoff=0.75)
    ]
    return f": did you mean {', '.join(near)}?" if near else ""


def _show(out: Output, found: list[Explained]) -> None:
    if out.as_json:
        out.json(found)
    elif out.terminal:
        width = min(shutil.get_terminal_size().columns, MAX_WIDTH)
        for item in found:
            _print(out, item, width)
    else:
        for item in found:
            out.line("\t".join(str(item[name] if item[name] is not None else "-") for name in item))


def _print(out: Output, item: Explained, width: int) -> None:
    number = "" if item["number"] is None else f" {item['number']}"
    out.line(out.styled(f"{item['kind']}{number}: {item['name']}", Style.HEAD))
    for name in LINES:
        out.line(textwrap.fill(str(item[name]), width, initial_indent=f"  {name:8}  ", subsequent_indent=" " * 12))
