"""What `doctor` and `webhook test` found out, and how it is shown."""

from collections.abc import Sequence
from typing import NamedTuple

from rtmsd.ctl.errors import Exit
from rtmsd.ctl.formatting import printable
from rtmsd.ctl.output import Output, Style


class Finding(NamedTuple):
    """The result of one check.

    Attributes:
        ok: None when it could not be made.
        mend: what to do, "" when there is nothing to do.
    """

    check: str
    ok: bool | None
    detail: str
    mend: str = ""


_WORDS = {True: ("ok", Style.GOOD), False: ("FAILED", Style.BAD), None: ("skipped", Style.DIM)}


def show_findings(out: Output, findings: Sequence[Finding]) -> Exit:
    """Write all findings in their order, and return FAILED when one is bad. What is well needs no mend."""
    shown = [finding._replace(mend="") if finding.ok else finding for finding in findings]
    if out.as_json:
        out.json([finding._asdict() for finding in shown])
    else:
        for finding in shown:
            _show(out, finding)
    return Exit.FAILED if any(finding.ok is False for finding in findings) else Exit.OK


def _show(out: Output, finding: Finding) -> None:
    word, style = _WORDS[finding.ok]
    check, detail, mend = printable(finding.check), printable(finding.detail), printable(finding.mend)
    if not out.terminal:
        out.line(f"{word}\t{check}\t{detail}\t{mend}")
        return
    out.line(f"{out.styled(word.ljust(8), style)}{check:14}{detail}")
    if mend:
        out.line(f"{'':22}-> {mend}")
