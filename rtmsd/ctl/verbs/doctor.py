"""doctor: from the likeliest to the least likely, why nothing arrives, each with its mend."""

from collections.abc import Sequence
from typing import Final

from rtmsd.ctl.context import Context
from rtmsd.ctl.errors import CtlError, Exit
from rtmsd.ctl.findings import Finding, show_findings
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
"""Likeliest first. Checks of the daemon's with other names come after these, in the daemon's order."""


def doctor(context: Context) -> Exit:
    """Make all checks, ours and the daemon's; FAILED when one is bad.

    Without a daemon the rest is still looked at, and the exit status says why there was none.
    """
    findings = probe_zoom(context.args.zoom, context.timeout_s) if context.args.zoom else []
    trouble: CtlError | None = None
    try:
        told = context.client.get("/v1/doctor")
        findings += [Finding(item["check"], item["ok"], item["detail"], item.get("mend") or "") for item in told]
        findings.append(Finding("daemon", True, f"answers on {context.client.path}"))
        if context.args.url:
            findings.append(
                probe_public_url(context.args.url, lambda: context.client.get("/v1/status"), context.timeout_s)
            )
        else:
            mend = "Give the address that Zoom has: --url https://..."
            findings.append(Finding("public url", None, "not looked at", mend))
    except CtlError as error:
        trouble = error
        findings.append(Finding("daemon", False, str(error), error.mend))
    code = show_findings(context.out, in_order(findings))
    return trouble.exit_code if trouble else code


def in_order(findings: Sequence[Finding]) -> list[Finding]:
    """Return one finding for each check, likeliest cause first: of two the one that tells more, trouble above all."""
    telling = sorted(findings, key=lambda finding: (finding.ok is None, finding.ok is True))
    one_each = {finding.check: finding for finding in reversed(telling)}
    known = [one_each.pop(check) for check in ORDER if check in one_each]
    return known + [
        one_each[check] for check in dict.fromkeys(finding.check for finding in findings) if check in one_each
    ]
