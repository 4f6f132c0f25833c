"""doctor: the reasons why nothing arrives, the likeliest first, each with a hint."""

from collections.abc import Sequence
from typing import Final

from rtmsd.ctl.context import Context
from rtmsd.ctl.errors import CtlError, Exit
from rtmsd.ctl.findings import Finding, show_findings
from rtmsd.ctl.output import Item
from rtmsd.ctl.probes import probe_public_url, probe_zoom

ORDER: Final = (
    "daemon",
    "clock",
    "dns",
    "tls",
    "disk",
    "requests",
    "credentials",
    "public url",
    "webhook",
    "signatures",
    "scopes",
    "concurrency",
)
"""Likeliest first. Other checks of the daemon come after these, in the daemon's order."""


def doctor(context: Context) -> Exit:
    """Run all checks, ours and the daemon's; FAILED when one is bad.

    Without a daemon the others still run, and the exit status says why there was none.
    """
    findings = probe_zoom(context.args.zoom, context.timeout_s) if context.args.zoom else []
    trouble: CtlError | None = None
    try:
        checks = context.client.get("/v1/doctor")
        findings += [Finding(item["check"], item["ok"], item["detail"], _hint(item)) for item in checks]
        findings.append(Finding("daemon", True, f"answers on {context.client.path}"))
        if context.args.url:
            findings.append(
                probe_public_url(context.args.url, lambda: context.client.get("/v1/status"), context.timeout_s)
            )
        else:
            hint = "Give the address that Zoom has: --url https://..."
            findings.append(Finding("public url", None, "not checked", hint))
    except CtlError as error:
        trouble = error
        findings.append(Finding("daemon", False, str(error), error.hint))
    code = show_findings(context.out, in_order(findings))
    return trouble.exit_code if trouble else code


def _hint(item: Item) -> str:
    hint: str | None = item.get("hint", item.get("mend"))  # `mend`: from a daemon of an earlier release
    return hint or ""


def in_order(findings: Sequence[Finding]) -> list[Finding]:
    """Return one finding for each check, likeliest cause first: of two a failure, else a success."""
    ordered = sorted(findings, key=lambda finding: (finding.ok is None, finding.ok is True))
    one_each = {finding.check: finding for finding in reversed(ordered)}
    known = [one_each.pop(check) for check in ORDER if check in one_each]
    return known + [
        one_each[check] for check in dict.fromkeys(finding.check for finding in findings) if check in one_each
    ]
