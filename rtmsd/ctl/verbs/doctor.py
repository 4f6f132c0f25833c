"""doctor: from the likeliest to the least likely, why nothing arrives, each with its mend."""

import argparse
from typing import Final

from rtmsd.ctl.arguments import web_url
from rtmsd.ctl.exits import CtlError, Exit
from rtmsd.ctl.findings import Finding, show_findings
from rtmsd.ctl.verb import Call, Verb

ZOOM_URL: Final = "https://zoom.us/"

ORDER: Final = (
    "daemon",
    "clock",
    "dns",
    "tls",
    "disk",
    "credentials",
    "public url",
    "webhook",
    "signatures",
    "scopes",
    "concurrency",
)
"""Likeliest first. Checks of the daemon's with other names come after these, in the daemon's order."""


def doctor(call: Call) -> Exit:
    """Make all checks, ours and the daemon's; FAILED when one is bad.

    Without a daemon the rest is still looked at, and the exit status says why there was none.
    """
    from rtmsd.ctl.probes import probe_public_url, probe_zoom  # noqa: PLC0415

    timeout_s: float = call.args.timeout
    findings = probe_zoom(call.args.zoom, timeout_s) if call.args.zoom else []
    trouble: CtlError | None = None
    try:
        told = call.client.get("/v1/doctor")
        findings += [Finding(item["check"], item["ok"], item["detail"], item.get("mend") or "") for item in told]
        findings.append(Finding("daemon", True, f"answers on {call.client.path}"))
        if call.args.url:
            findings.append(probe_public_url(call.args.url, lambda: call.client.get("/v1/status"), timeout_s))
        else:
            mend = "Give the address that Zoom has: --url https://..."
            findings.append(Finding("public url", None, "not looked at", mend))
    except CtlError as error:
        trouble = error
        findings.append(Finding("daemon", False, str(error), error.mend))
    code = show_findings(call.out, sorted(findings, key=_rank))
    return trouble.exit_code if trouble else code


def _rank(finding: Finding) -> int:
    return ORDER.index(finding.check) if finding.check in ORDER else len(ORDER)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", metavar="URL", type=web_url, help="the public address of the webhook, as Zoom has it")
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--zoom",
        metavar="URL",
        type=web_url,
        default=web_url(ZOOM_URL),
        help=f"a server of Zoom's (default: {ZOOM_URL})",
    )
    where.add_argument("--offline", dest="zoom", action="store_const", const=None, help="leave Zoom's servers alone")


VERBS: Final = (Verb("doctor", doctor, "why does nothing arrive?", _arguments),)
