"""The findings of `doctor` and `webhook test`, and their output."""

from collections.abc import Sequence
from typing import NamedTuple

from rtmsd.ctl.errors import Exit
from rtmsd.ctl.formatting import printable
from rtmsd.ctl.output import Output, Style


class Finding(NamedTuple):
    """The result of one check.

    Attributes:
        ok: None when it could not be made.
        hint: what to do, "" when there is nothing to do.
    """

    check: str
    ok: bool | None
    detail: str
    hint: str = ""


_WORDS = {True: ("ok", Style.GOOD), False: ("FAILED", Style.BAD), None: ("skipped", Style.DIM)}


def show_findings(out: Output, findings: Sequence[Finding]) -> Exit:
    """Write all findings in their order, and return FAILED when one is bad. A good one has no hint."""
    shown = [finding._replace(hint="") if finding.ok else finding for finding in findings]
    if out.as_json:
        out.json([finding._asdict() | {"mend": finding.hint} for finding in shown])  # its former name, for one release
    else:
        for finding in shown:
            _show(out, finding)
    return Exit.FAILED if any(finding.ok is False for finding in findings) else Exit.OK


def _show(out: Output, finding: Finding) -> None:
    word, style = _WORDS[finding.ok]
    check, detail, hint = map(printable, (finding.check, finding.detail, finding.hint))
    if not out.terminal:
        out.line(f"{word}\t{check}\t{detail}\t{hint}")
        return
    out.line(f"{out.styled(word.ljust(8), style)}{check:14}{detail}")
    if hint:
        out.line(f"{'':22}-> {hint}")
