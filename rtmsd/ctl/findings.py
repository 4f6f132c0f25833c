"""What `doctor` and `webhook test` found out, and how it is shown."""

from collections.abc import Sequence
from typing import NamedTuple

from rtmsd.ctl.exits import Exit
from rtmsd.ctl.figures import printable
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
    """Write all findings in their order, and return FAILED when one is bad."""
    if out.as_json:
        out.json([finding._asdict() for finding in findings])
    for finding in () if out.as_json else findings:
        word, style = _WORDS[finding.ok]
        if out.terminal:
            out.line(f"{out.styled(word.ljust(8), style)}{printable(finding.check):14}{printable(finding.detail)}")
            if finding.mend and finding.ok is not True:
                out.line(f"{'':22}-> {printable(finding.mend)}")
        else:
            out.line("\t".join((word, *map(printable, (finding.check, finding.detail, finding.mend)))))
    return Exit.FAILED if any(finding.ok is False for finding in findings) else Exit.OK
