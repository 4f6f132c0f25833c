"""Why nothing arrives, as far as the daemon can tell: findings for `GET /v1/doctor`, from the likeliest cause on.

Pure: it is given what the daemon knows. What has to be tried from outside (DNS, TLS, the public URL) `rtmsctl doctor`
does. Something that went wrong counts until it has gone right since.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

import attrs

from rtmsd.daemon.health import DISTRUSTED_IN_ROW, Trouble, TroubleCode
from rtmsd.protocol.enums import StatusCode, StopReason
from rtmsd.protocol.explanations import STATUS_CODES
from rtmsd.webhook.stats import DISTRUSTED, NO_EVIDENCE, STREAM_EVENTS, Result, WebhookStats

CLOCK_GOOD_S: Final = 30.0  # far below webhook.max_age_s, where every webhook is refused
NOTICE_COUNTS_S: Final = 3600.0
EVENT_DUE_S: Final = 300.0  # before, that no event of a stream has come says nothing
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
STREAMS: Final = frozenset({TroubleCode.STREAMS_FAILED, TroubleCode.STARTS_REFUSED, TroubleCode.NOT_CONNECTED})
MISSING_SCOPE: Final = frozenset(
    {
        StatusCode.MEDIA_TYPE_AUDIO_NOT_SUPPORT,
        StatusCode.MEDIA_TYPE_VIDEO_NOT_SUPPORT,
        StatusCode.MEDIA_TYPE_DESKSHARE_NOT_SUPPORT,
        StatusCode.MEDIA_TYPE_TRANSCRIPT_NOT_SUPPORT,
        StatusCode.MEDIA_TYPE_CHAT_NOT_SUPPORT,
    }
)


@attrs.frozen(kw_only=True)
class Facts:
    """What the daemon knows. Times are local Unix times in seconds.

    Attributes:
        max_age_s: `webhook.max_age_s`.
        troubles: of health, now.
        free_bytes: below the recordings; None when it cannot be told.
        accepted_s: the latest signaling handshake that Zoom accepted; None without one.
        refused_s: the latest refusal of a handshake, signaling or media, by status code.
        stopped_s: the latest end of a stream, by stop reason.
        refused_media: of the latest recordings, in words.
    """

    now_s: float
    uptime_s: float
    max_age_s: float
    webhooks: WebhookStats
    troubles: Sequence[Trouble] = ()
    free_bytes: int | None = None
    accepted_s: float | None = None
    refused_s: Mapping[int, float] = attrs.field(factory=dict)
    stopped_s: Mapping[int, float] = attrs.field(factory=dict)
    refused_media: Sequence[str] = ()

    @property
    def genuine_s(self) -> float:
        """When the latest webhook came that could be trusted; minus infinity without one."""
        return self.latest_s(frozenset(Result) - DISTRUSTED - NO_EVIDENCE)

    def latest_s(self, results: Collection[Result]) -> float:
        """When the latest webhook came to one of these results; minus infinity without one."""
        return max((self.webhooks.last_s.get(result, -math.inf) for result in results), default=-math.inf)

    def is_last(self, result: Result) -> bool:
        """Whether webhooks still come to this: no good one has come since."""
        return self.latest_s([result]) > self.genuine_s

    def count(self, results: Collection[Result]) -> str:
        """How many of each of these results there were, in words; "" without any."""
        counts = self.webhooks.results
        return ", ".join(f"{counts[result]} {result}" for result in sorted(results) if counts[result])

    def since_accepted(self, last_s: Mapping[int, float]) -> frozenset[int]:
        """The numbers that came after the latest handshake that went well."""
        return frozenset(number for number, at_s in last_s.items() if at_s >= (self.accepted_s or 0))


@attrs.frozen
class Finding:
    """The result of one check. `ok` is None when it could not be made; `mend` says what to do, "" for nothing."""

    check: str
    ok: bool | None
    detail: str
    mend: str = ""


def examine(facts: Facts) -> list[Finding]:
    """Make all checks. What is well has no `mend`."""
    findings = [check(facts) for check in CHECKS]
    return [attrs.evolve(finding, mend="") if finding.ok else finding for finding in findings]


def findings_json(facts: Facts) -> list[dict[str, Any]]:
    """Return all findings as `GET /v1/doctor` tells them."""
    return [attrs.asdict(finding) for finding in examine(facts)]


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
        "Set the clock (chrony, systemd-timesyncd). If it is right, something holds webhooks back on their way.",
    )


def check_disk(facts: Facts) -> Finding:
    troubles = [trouble.detail for trouble in facts.troubles if trouble.code in DISK]
    only_state = bool(troubles) and all(t.code in STATE for t in facts.troubles if t.code in DISK)
    free = "unknown" if facts.free_bytes is None else f"{facts.free_bytes / 2**30:.1f} GiB"
    return Finding(
        "disk",
        not troubles,
        "; ".join(troubles) or f"{free} free",
        "See who removes, moves or damages state.file, and that its directory is there and writable."
        if only_state
        else "Make room below recording.directory, or make it writable; keep_days and keep_bytes make room by "
        "themselves.",
    )


def check_credentials(facts: Facts) -> Finding:
    if facts.is_last(Result.SWAPPED):
        return Finding(
            "credentials",
            False,
            "webhooks are signed with what is configured as client_secret",
            "Swap client_secret (App Credentials) and webhook_secret (Secret Token of the event subscription).",
        )
    if StatusCode.INVALID_SIGNATURE in facts.since_accepted(facts.refused_s):
        return Finding(
            "credentials",
            False,
            "Zoom refuses our handshakes: status 3, invalid signature",
            "Check client_id and client_secret: of the app that is subscribed, development or production as it is.",
        )
    if StopReason.AUTHENTICATION_FAILURE in facts.since_accepted(facts.stopped_s):
        return Finding(
            "credentials",
            False,
            "Zoom ended a stream for its credentials (stop reason 18)",
            "Usually two apps are mixed up: development and production credentials of one app differ.",
        )
    if facts.accepted_s is None:
        return Finding("credentials", None, "no stream has connected yet")
    return Finding("credentials", True, "Zoom accepts them")


def check_requests(facts: Facts) -> Finding:
    crashed = [trouble.detail for trouble in facts.troubles if trouble.code is TroubleCode.REQUESTS_CRASHED]
    return Finding(
        "requests",
        not crashed,
        "; ".join(crashed) or "none was answered 500 within an hour",
        "This is a bug in rtmsd, or a release of a library that it does not know: its log has the traceback.",
    )


START: Final = (
    "subscribe to RTMS Started, Stopped and Interrupted, and start RTMS in a session: it does not start by itself."
)


def check_webhook(facts: Facts) -> Finding:
    """Judge by the events of streams alone: a validation is no subscription, and the rest may be anybody's."""
    latest_s = facts.latest_s(STREAM_EVENTS)
    if latest_s > -math.inf:
        return Finding("webhook", True, f"the latest event of a stream came {facts.now_s - latest_s:.0f} s ago")
    if facts.genuine_s > -math.inf:
        mend = f"The way in works: {START}"
    elif facts.count(DISTRUSTED - NO_EVIDENCE):
        mend = "What comes is refused: the clock, the credentials or the signatures are to be mended first."
    else:
        mend = f"Give Zoom the public URL (`rtmsctl webhook test` tries the way in), {START}"
    others = facts.count(list(Result))
    if not others and facts.uptime_s < EVENT_DUE_S:
        return Finding("webhook", None, f"none has come yet; the daemon was started {facts.uptime_s:.0f} s ago", mend)
    none = f"no event of a stream has come in the {facts.uptime_s:.0f} s since the start"
    return Finding("webhook", False, f"{none}, only {others}" if others else none, mend)


def check_signatures(facts: Facts) -> Finding:
    """One forgery is a stranger's, unless nothing better ever came."""
    told = facts.count(DISTRUSTED)
    is_first = facts.genuine_s == -math.inf
    if facts.is_last(Result.FORGED) and (is_first or facts.webhooks.distrusted_in_row >= DISTRUSTED_IN_ROW):
        return Finding(
            "signatures",
            False,
            f"no webhook_secret verifies what comes ({told})",
            "Copy the Secret Token of the app's event subscriptions again, and see that no proxy changes the body.",
        )
    if is_first:
        return Finding("signatures", None, f"no good one has come yet, only {told}" if told else "none has come yet")
    return Finding("signatures", True, f"good, apart from {told}" if told else "all were good")


def check_scopes(facts: Facts) -> Finding:
    missing = sorted(MISSING_SCOPE & facts.since_accepted(facts.refused_s))
    if missing:
        return Finding(
            "scopes",
            False,
            "Zoom refused media: " + ", ".join(f"{STATUS_CODES[status].name} ({status:d})" for status in missing),
            "Add the scope to the app (meeting:read:meeting_audio and its like) and have it authorized again, or leave "
            "that media out of media.types.",
        )
    if facts.refused_media:
        return Finding(
            "scopes",
            False,
            f"asked for and not granted: {'; '.join(facts.refused_media)}",
            "`rtmsctl inspect STREAM` says what was asked for. Add the scope to the app, or change media.",
        )
    return Finding("scopes", None if facts.accepted_s is None else True, "no media was refused")


def check_concurrency(facts: Facts) -> Finding:
    notice = facts.webhooks.last_notice
    age_s = facts.now_s - facts.latest_s([Result.NOTICE])
    if notice is None or age_s > NOTICE_COUNTS_S:
        return Finding("concurrency", True, "Zoom has not complained")
    number = notice.details.get("concurrency_number", "?")
    return Finding(
        "concurrency",
        notice.event != "rtms.concurrency_limited",
        f"Zoom said {notice.event} {age_s:.0f} s ago, at {number} streams",
        "No new stream starts while the limit is reached: end some, or have Zoom raise it (Developer Pack).",
    )


def check_media(facts: Facts) -> Finding:
    silent = [trouble.detail for trouble in facts.troubles if trouble.code == "no_media"]
    return Finding(
        "media",
        not silent,
        "; ".join(silent) or "every connected stream hears something",
        "`rtmsctl reconnect STREAM` makes fresh connections; if that does not help, look for a firewall in between.",
    )


def check_streams(facts: Facts) -> Finding:
    failed = [trouble.detail for trouble in facts.troubles if trouble.code in STREAMS]
    return Finding(
        "streams",
        not failed,
        "; ".join(failed) or "none was refused, given up or failed in the last hour, and all are connected",
        "`rtmsctl ps -a` names them, `rtmsctl inspect STREAM` and stream.json in its directory say why each one did.",
    )


def check_events(facts: Facts) -> Finding:
    lost = [trouble.detail for trouble in facts.troubles if trouble.code is TroubleCode.WEBHOOK_EVENTS]
    return Finding(
        "events",
        not lost,
        "; ".join(lost) or "every genuine event could be read",
        "Look for it in the log, and report what Zoom sent: a start that is lost so is a session that is not recorded.",
    )


CHECKS: Final[Sequence[Callable[[Facts], Finding]]] = (
    check_clock,
    check_disk,
    check_requests,
    check_credentials,
    check_webhook,
    check_signatures,
    check_scopes,
    check_concurrency,
    check_media,
    check_streams,
    check_events,
)
"""The likeliest cause first."""
