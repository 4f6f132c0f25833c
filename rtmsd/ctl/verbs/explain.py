"""explain: what a number or a word of Zoom's or ours means, what causes it, and what to do."""

import shutil
import textwrap
from collections.abc import Iterator
from typing import Final

from rtmsd.ctl.call import Call
from rtmsd.ctl.exits import CtlError, Exit
from rtmsd.ctl.output import Output, Style
from rtmsd.ctl.terms import GAP_CAUSES, STREAM_STATES
from rtmsd.protocol import meanings as zoom

Explained = dict[str, str | int | None]

MAX_WIDTH: Final = 100
LINES: Final = ("meaning", "cause", "remedy")


def explain(call: Call) -> Exit:
    """Explain everything that the words can mean; a number alone can be several things."""
    *kind_words, code = " ".join(call.args.words).split() or [""]  # also what was quoted as one word
    kind = " ".join(kind_words).lower().replace("_", " ")
    found = [item for item in meanings(code) if str(item["kind"]).startswith(kind)]
    if not found:
        raise CtlError(
            Exit.FAILED,
            f"nothing is known of {' '.join(call.args.words)!r}",
            "Known are stop reasons, status codes, states and causes of gaps: `explain stop 18`, `explain paused`.",
        )
    if call.out.as_json:
        call.out.json(found)
    elif call.out.terminal:
        width = min(shutil.get_terminal_size().columns, MAX_WIDTH)
        for item in found:
            _print(call.out, item, width)
    else:
        for item in found:
            call.out.line("\t".join(str(item[name] if item[name] is not None else "-") for name in item))
    return Exit.OK


def meanings(code: str) -> Iterator[Explained]:
    """Yield what a number or a name stands for: Zoom's numbers first, then rtmsd's own words."""
    for kind, number, meaning in zoom.explain(code):
        yield {"kind": kind, "number": number, **meaning._asdict()}
    for kind, table in (("rtmsd state", STREAM_STATES), ("gap cause", GAP_CAUSES)):
        if (own := table.get(code.lower().replace("-", "_"))) is not None:
            yield {"kind": kind, "number": None, **own._asdict()}


def _print(out: Output, item: Explained, width: int) -> None:
    number = "" if item["number"] is None else f" {item['number']}"
    out.line(out.styled(f"{item['kind']}{number}: {item['name']}", Style.HEAD))
    for name in LINES:
        out.line(textwrap.fill(str(item[name]), width, initial_indent=f"  {name:8}  ", subsequent_indent=" " * 12))
