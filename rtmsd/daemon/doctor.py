"""Findings of `GET /v1/doctor`: why nothing arrives, the likeliest cause first.

Pure: facts of the daemon in, findings out. `rtmsctl doctor` tries what has to be tried from outside (DNS, TLS, the
public URL). A failure counts until there was a success since.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import attrs

from rtmsd.daemon.health import DISTRUSTED_IN_ROW, Trouble, TroubleCode
from rtmsd.protocol.enums import StatusCode, StopReason
from rtmsd.protocol.explanations import STATUS_CODES
from rtmsd.protocol.media_types import REFUSED_TYPE
from rtmsd.webhook import concurrency
from rtmsd.webhook.stats import DISTRUSTED, NO_EVIDENCE, STREAM_EVENTS, Result, WebhookStats

CLOCK_GOOD_S: Final = 30.0  # far below webhook.max_age_s, where every webhook is refused
EVENT_DUE_S: Final = 300.0  # until then no event of a stream is expected
STATE: Final = frozenset({TroubleCode.STATE_FILE, TroubleCode.STATE_FILE_DAMAGED})
DISK: Final = STATE | frozenset(
    {
        TroubleCode.DISK_UNREADABLE,
        TroubleCode.DISK_LOW,
        TroubleCode.DISK_ERROR,
        TroubleCode.SYNC_LAG,
        TroubleCode.BUFFER_FULL,
    }
)
MISSING_SCOPE: Final = REFUSED_TYPE.keys()


@attrs.frozen(kw_only=True)
class Facts:
    """The facts that checks judge by. Times are local Unix times in seconds.

    Attributes:
        max_age_s: `webhook.max_age_s`.
        troubles: of health, now.
        free_bytes: in each directory of recordings; None where unknown.
        accepted_s: the latest signaling handshake that Zoom accepted; None without one.
        refused_s: the latest refusal of a handshake, signaling or media, by status code.
        stopped_s: the latest end of a stream, by stop reason.
        refused_media: of the latest recordings, as text.
        unusable_sinks: why sinks cannot be used, as text.
    """

    now_s: float
    uptime_s: float
    max_age_s: float
    webhooks: WebhookStats
    troubles: Sequence[Trouble] = ()
    free_bytes: Mapping[str, int | None] = attrs.field(factory=dict)
    accepted_s: float | None = None
    refused_s: Mapping[int, float] = attrs.field(factory=dict)
    stopped_s: Mapping[int, float] = attrs.field(factory=dict)
    refused_media: Sequence[str] = ()
    unusable_sinks: Sequence[str] = ()

    @property
    def genuine_s(self) -> float:
        """When the latest trusted webhook came; minus infinity without one."""
        return self.latest_s(frozenset(Result) - DISTRUSTED - NO_EVIDENCE)

    def details(self, codes: Collection[TroubleCode]) -> list[str]:
        """The details of troubles with one of these codes."""
        return [trouble.detail for trouble in self.troubles if trouble.code in codes]

    def latest_s(self, results: Collection[Result]) -> float:
        """When the latest webhook had one of these results; minus infinity without one."""
        return max((self.webhooks.last_s.get(result, -math.inf) for result in results), default=-math.inf)

    def is_last(self, result: Result) -> bool:
        """Whether webhooks still have this result: no good one has come since."""
        return self.latest_s([result]) > self.genuine_s

    def count(self, results: Collection[Result]) -> str:
        """How many of each of these results there were, as text; "" without any."""
        counts = self.webhooks.results
        return ", ".join(f"{counts[result]} {result}" for result in sorted(results) if counts[result])

    def since_accepted(self, last_s: Mapping[int, float]) -> frozenset[int]:
        """The numbers that came after the latest accepted handshake."""
        return frozenset(number for number, at_s in last_s.items() if at_s >= (self.accepted_s or 0))


@attrs.frozen
class Finding:
    """The result of one check. `ok` is None when it could not be made; `hint` says what to do, "" for nothing."""

    check: str
    ok: bool | None
    detail: str
    hint: str = ""


def examine(facts: Facts) -> list[Finding]:
    """Make all checks. A good finding has no hint."""
    return without_hints(check(facts) for check in CHECKS)


def without_hints(findings: Iterable[Finding]) -> list[Finding]:
    """Leave out the hints of good findings."""
    return [attrs.evolve(finding, hint="") if finding.ok else finding for finding in findings]


def findings_json(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """Return findings for `GET /v1/doctor`. `mend` is the former name of `hint`, kept for one release."""
    return [{**attrs.asdict(finding), "mend": finding.hint} for finding in findings]


@attrs.frozen
class TroubleCheck:
    """A check that fails while health has one of its troubles."""

    check: str
    codes: frozenset[TroubleCode]
    good: str
    hint: str

    def __call__(self, facts: Facts) -> Finding:
        details = facts.details(self.codes)
        return Finding(self.check, not details, "; ".join(details) or self.good, self.hint)


def check_clock(facts: Facts) -> Finding:
    skew_s = facts.webhooks.skew_s
    if skew_s is None:
        return Finding("clock", None, "no genuine webhook has come yet to compare with")
    where = "ahead of" if skew_s > 0 else "behind"
    refused = f", and webhooks are refused beyond {facts.max_age_s:g} s" if facts.is_last(Result.STALE) else ""
    return Finding(
        "clock",
        abs(skew_s) <= CLOCK_GOOD_S,
        f"{abs(skew_s):.0f} s {where} the latest webhook's{refused}",
        "Set the clock (chrony, systemd-timesyncd). If it is right, something delays webhooks on their way.",
    )


def check_disk(facts: Facts) -> Finding:
    troubles = facts.details(DISK)
    only_state = facts.details(STATE) == troubles
    free = {where: "unknown" if free is None else f"{free / 2**30:.1f} GiB" for where, free in facts.free_bytes.items()}
    listed = ", ".join(f"{each} free in {where}" for where, each in free.items())
    return Finding(
        "disk",
        not troubles,
        "; ".join(troubles) or listed or "free space unknown",
        "Find out what removes, moves or damages state.file; its directory must exist and be writable."
        if only_state
        else "Make room below recording.directory (of the app), or make it writable; keep_days and keep_bytes make "
        "room by themselves.",
    )


def check_credentials(facts: Facts) -> Finding:
    bad = partial(Finding, "credentials", False)
    if facts.is_last(Result.SWAPPED):
        return bad(
            "webhooks are signed with what is configured as client_secret",
            "Swap client_secret (App Credentials) and webhook_secret (Secret Token of the event subscription).",
        )
    if StatusCode.INVALID_SIGNATURE in facts.since_accepted(facts.refused_s):
        return bad(
            "Zoom refuses the handshakes: status 3, invalid signature",
            "Check client_id and client_secret: they must be of the subscribed app, development or production alike.",
        )
    if StopReason.AUTHENTICATION_FAILURE in facts.since_accepted(facts.stopped_s):
        return bad(
            "Zoom ended a stream for its credentials (stop reason 18)",
            "Usually two apps are confused: development and production credentials of one app differ.",
        )
    if facts.accepted_s is None:
        return Finding("credentials", None, "no stream has connected yet")
    return Finding("credentials", True, "Zoom accepts them")


START: Final = (
    "subscribe to RTMS Started, Stopped and Interrupted, and start RTMS in a session: it does not start by itself."
)


def check_webhook(facts: Facts) -> Finding:
    """Judge by the events of streams alone: a validation is no subscription, and anybody may send the rest."""
    latest_s = facts.latest_s(STREAM_EVENTS)
    if latest_s > -math.inf:
        return Finding("webhook", True, f"the latest event of a stream came {facts.now_s - latest_s:.0f} s ago")
    if facts.genuine_s > -math.inf:
        hint = f"Webhooks arrive: {START}"
    elif facts.count(DISTRUSTED - NO_EVIDENCE):
        hint = "Webhooks are refused: fix the clock, the credentials or the signatures first."
    else:
        hint = f"Give Zoom the public URL (`rtmsctl webhook test` tries it), {START}"
    others = facts.count(list(Result))
    if not others and facts.uptime_s < EVENT_DUE_S:
        return Finding("webhook", None, f"none has come yet; the daemon was started {facts.uptime_s:.0f} s ago", hint)
    none = f"no event of a stream has come in the {facts.uptime_s:.0f} s since the start"
    return Finding("webhook", False, f"{none}, only {others}" if others else none, hint)


def check_signatures(facts: Facts) -> Finding:
    """One forgery is a stranger's, unless nothing genuine ever came."""
    counts = facts.count(DISTRUSTED)
    is_first = facts.genuine_s == -math.inf
    if facts.is_last(Result.FORGED) and (is_first or facts.webhooks.distrusted_in_row >= DISTRUSTED_IN_ROW):
        return Finding(
            "signatures",
            False,
            f"no webhook_secret verifies the webhooks ({counts})",
            "Copy the Secret Token of the app's event subscriptions again; no proxy may change the body.",
        )
    if is_first:
        return Finding(
            "signatures", None, f"no good one has come yet, only {counts}" if counts else "none has come yet"
        )
    return Finding("signatures", True, f"good, apart from {counts}" if counts else "all were good")


def check_scopes(facts: Facts) -> Finding:
    bad = partial(Finding, "scopes", False)
    missing = sorted(MISSING_SCOPE & facts.since_accepted(facts.refused_s))
    if missing:
        return bad(
            "Zoom refused media: " + ", ".join(f"{STATUS_CODES[status].name} ({status:d})" for status in missing),
            "Add the scope to the app (such as meeting:read:meeting_audio) and authorize it again, or remove that "
            "media from media.types.",
        )
    if facts.refused_media:
        return bad(
            f"asked for and not granted: {'; '.join(facts.refused_media)}",
            "`rtmsctl inspect STREAM` shows what was asked for. Add the scope to the app, or change media.",
        )
    return Finding("scopes", None if facts.accepted_s is None else True, "no media was refused")


def check_concurrency(facts: Facts) -> Finding:
    notice = facts.webhooks.last_notice
    age_s = facts.now_s - facts.latest_s([Result.NOTICE])
    if notice is None or age_s > concurrency.COUNTS_S:
        return Finding("concurrency", True, "Zoom has not complained")
    number = notice.details.get("concurrency_number", "?")
    return Finding(
        "concurrency",
        notice.event != concurrency.LIMITED,
        f"Zoom sent {notice.event} {age_s:.0f} s ago, at {number} streams",
        "No new stream starts while the limit is reached: end some, or have Zoom raise it (Developer Pack).",
    )


def check_deliveries(facts: Facts) -> Finding:
    found = [*facts.unusable_sinks, *facts.details({TroubleCode.DELIVERIES_DEAD})]
    return Finding(
        "deliveries",
        not found,
        "; ".join(found) or "none failed in the last day",
        "Make the program executable for the daemon's user. `rtmsctl deliveries show ID` has its output, `replay ID` "
        "runs it again.",
    )


CHECKS: Final[Sequence[Callable[[Facts], Finding]]] = (
    check_clock,
    check_disk,
    TroubleCheck(
        "requests",
        frozenset({TroubleCode.REQUESTS_CRASHED}),
        "none was answered 500 within an hour",
        "This is a bug in rtmsd, or a release of a library that it does not know: its log has the traceback.",
    ),
    check_credentials,
    check_webhook,
    check_signatures,
    check_scopes,
    check_concurrency,
    TroubleCheck(
        "media",
        frozenset({TroubleCode.NO_MEDIA}),
        "every connected stream receives something",
        "`rtmsctl reconnect STREAM` makes new connections; if that does not help, look for a firewall in between.",
    ),
    TroubleCheck(
        "streams",
        frozenset(
            {
                TroubleCode.STREAMS_FAILED,
                TroubleCode.STARTS_REFUSED,
                TroubleCode.NOT_CONNECTED,
                TroubleCode.SLOT_HELD,
            }
        ),
        "none was refused, given up or failed in the last hour, and all are connected",
        "`rtmsctl ps -a` names them, `rtmsctl inspect STREAM` and stream.json in its directory say why each one did.",
    ),
    TroubleCheck(
        "events",
        frozenset({TroubleCode.WEBHOOK_EVENTS}),
        "every genuine event could be read",
        "See the log, and report what Zoom sent: a start that is lost so is a session that is not recorded.",
    ),
    check_deliveries,
)
"""The likeliest cause first."""
