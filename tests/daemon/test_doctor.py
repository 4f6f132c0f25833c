"""Findings of the doctor, from facts of the daemon."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmsd.ctl.verbs.doctor import ORDER
from rtmsd.daemon.doctor import DISK, STATE, Facts, Finding, examine, findings_json
from rtmsd.daemon.health import Trouble, TroubleCode
from rtmsd.webhook.events import ConcurrencyNotice
from rtmsd.webhook.stats import STREAM_EVENTS, Result, WebhookStats

NOW_S = 1_790_000_000.0


def stats(*came: tuple[Result, float], skew_s: float | None = 0.4) -> WebhookStats:
    """Webhooks, each so many seconds ago."""
    stats = WebhookStats(skew_s=skew_s)
    for result, ago_s in came:
        stats.count(result, NOW_S - ago_s)
    return stats


def finding(check: str, webhooks: WebhookStats | None = None, **others: Any) -> Finding:
    facts = Facts(now_s=NOW_S, uptime_s=600, max_age_s=300, webhooks=webhooks or stats((Result.ACCEPTED, 5)), **others)
    return next(finding for finding in examine(facts) if finding.check == check)


def test_good_findings_have_no_hint() -> None:
    healthy = Facts(
        now_s=NOW_S,
        uptime_s=90,
        max_age_s=300,
        webhooks=stats((Result.ACCEPTED, 5)),
        free_bytes={"/r": 10 * 2**30},
        accepted_s=NOW_S - 4,
    )
    findings = findings_json(examine(healthy))
    assert findings == json.loads(json.dumps(findings))
    assert all(finding["ok"] is True and finding["hint"] == finding["mend"] == "" for finding in findings)


def test_right_after_a_start_silence_is_no_failure() -> None:
    facts = Facts(now_s=NOW_S, uptime_s=0.2, max_age_s=300, webhooks=WebhookStats())
    webhook = next(finding for finding in examine(facts) if finding.check == "webhook")
    assert (webhook.ok, webhook.detail) == (None, "none has come yet; the daemon was started 0 s ago")


def test_without_input_some_checks_cannot_be_made() -> None:
    found = {
        finding.check: finding.ok
        for finding in examine(Facts(now_s=1, uptime_s=600, max_age_s=1, webhooks=WebhookStats()))
    }
    assert found == {
        "clock": None,
        "disk": True,
        "requests": True,
        "credentials": None,
        "webhook": False,
        "signatures": None,
        "scopes": None,
        "concurrency": True,
        "media": True,
        "streams": True,
        "events": True,
        "deliveries": True,
    }


def test_the_order_is_that_of_rtmsctl() -> None:
    checks = [finding.check for finding in examine(Facts(now_s=1, uptime_s=600, max_age_s=1, webhooks=WebhookStats()))]
    known = [check for check in checks if check in ORDER]
    assert known == sorted(known, key=ORDER.index)
    assert checks == [*known, "media", "streams", "events", "deliveries"]


@pytest.mark.parametrize(("skew_s", "ok", "words"), [(29, True, "29 s ahead"), (-31, False, "31 s behind")])
def test_the_clock(skew_s: float, ok: bool, words: str) -> None:
    found = finding("clock", stats((Result.ACCEPTED, 5), skew_s=skew_s))
    assert found.ok is ok
    assert words in found.detail


def test_a_clock_so_wrong_that_webhooks_are_refused() -> None:
    found = finding("clock", stats((Result.ACCEPTED, 90), (Result.STALE, 5), skew_s=400))
    assert found.ok is False
    assert "refused beyond 300 s" in found.detail


@pytest.mark.parametrize("code", sorted(DISK))
def test_each_trouble_of_the_disk(code: TroubleCode) -> None:
    found = finding("disk", troubles=[Trouble(code, "what is wrong"), Trouble(TroubleCode.NO_MEDIA, "other")])
    assert (found.ok, found.detail) == (False, "what is wrong")
    assert ("state.file" if code in STATE else "recording.directory") in found.hint


def test_swapped_secrets_until_a_webhook_is_right() -> None:
    assert finding("credentials", stats((Result.SWAPPED, 5))).ok is False
    assert finding("credentials", stats((Result.SWAPPED, 9), (Result.ACCEPTED, 5)), accepted_s=NOW_S).ok is True


@pytest.mark.parametrize(("refused", "stopped"), [({3: NOW_S - 5}, {}), ({}, {18: NOW_S - 5})])
def test_credentials_that_zoom_refuses_until_it_accepts_them(
    refused: dict[int, float], stopped: dict[int, float]
) -> None:
    assert finding("credentials", refused_s=refused, stopped_s=stopped).ok is False
    assert finding("credentials", refused_s=refused, stopped_s=stopped, accepted_s=NOW_S - 6).ok is False
    assert finding("credentials", refused_s=refused, stopped_s=stopped, accepted_s=NOW_S - 4).ok is True


@pytest.mark.parametrize("status", range(9, 14))
def test_a_scope_that_is_missing(status: int) -> None:
    found = finding("scopes", accepted_s=NOW_S - 5, refused_s={status: NOW_S - 5})
    assert found.ok is False
    assert f"({status})" in found.detail
    assert finding("scopes", accepted_s=NOW_S - 5, refused_s={status: NOW_S - 60, 8: NOW_S}).ok is True


NEVER_VERIFIED = [(Result.FORGED, 5)]
NO_LONGER_VERIFIED = [(Result.ACCEPTED, 9), *[(Result.FORGED, 5)] * 3]


@pytest.mark.parametrize("came", [NEVER_VERIFIED, NO_LONGER_VERIFIED])
def test_wrong_signatures_until_one_is_good(came: list[tuple[Result, float]]) -> None:
    assert finding("signatures", stats(*came)).ok is False
    recovered = finding("signatures", stats(*came, (Result.VALIDATION, 4)))
    assert recovered.ok is True
    assert f"{came.count((Result.FORGED, 5))} forged" in recovered.detail


@pytest.mark.parametrize("result", [Result.UNSIGNED, Result.FORGED])
def test_forgeries_of_strangers_are_no_failure(result: Result) -> None:
    assert finding("signatures", stats((Result.ACCEPTED, 9), (result, 5))).ok is True


def test_unsigned_posts_are_no_sign_of_a_wrong_secret() -> None:
    """The doctor's own question at the public address is one."""
    posted = stats(*[(Result.UNSIGNED, 5)] * 4)
    assert posted.distrusted_in_row == 0
    assert finding("signatures", posted).ok is None
    refused = stats((Result.FORGED, 9), (Result.UNSIGNED, 8), (Result.FORGED, 7), (Result.TOO_LARGE, 6))
    assert refused.distrusted_in_row == 2


@pytest.mark.parametrize("result", sorted(STREAM_EVENTS))
def test_the_webhook_is_good_once_an_event_of_a_stream_has_come(result: Result) -> None:
    found = finding("webhook", stats((result, 60), (Result.FORGED, 5)))
    assert (found.ok, found.detail) == (True, "the latest event of a stream came 60 s ago")


@pytest.mark.parametrize(
    ("result", "hint"),
    [
        (None, "Give Zoom the public URL"),
        (Result.UNSIGNED, "Give Zoom the public URL"),
        (Result.TOO_LARGE, "Give Zoom the public URL"),
        (Result.VALIDATION, "Webhooks arrive: subscribe"),
        (Result.NOTICE, "Webhooks arrive: subscribe"),
        (Result.BAD_EVENT, "Webhooks arrive: subscribe"),
        (Result.STALE, "Webhooks are refused"),
        (Result.SWAPPED, "Webhooks are refused"),
        (Result.FORGED, "Webhooks are refused"),
    ],
)
def test_other_webhooks_do_not_make_the_webhook_good(result: Result | None, hint: str) -> None:
    found = finding("webhook", stats(*[(result, 5)] if result else []))
    assert found.ok is False
    assert found.detail.endswith(f", only 1 {result}" if result else "since the start")
    assert found.hint.startswith(hint)


def test_a_concurrency_limit_for_an_hour() -> None:
    limited = stats((Result.NOTICE, 60))
    limited.last_notice = ConcurrencyNotice("rtms.concurrency_limited", "main", {"concurrency_number": 2001})
    assert finding("concurrency", limited).ok is False
    assert "2001 streams" in finding("concurrency", limited).detail
    limited.last_s[Result.NOTICE] = NOW_S - 3601
    assert finding("concurrency", limited).ok is True
    near = stats((Result.NOTICE, 60))
    near.last_notice = ConcurrencyNotice("rtms.concurrency_near_limit", "main", {})
    assert finding("concurrency", near).ok is True


def test_a_stream_without_media() -> None:
    found = finding("media", troubles=[Trouble(TroubleCode.NO_MEDIA, "connected, but silent: abc")])
    assert (found.ok, found.detail) == (False, "connected, but silent: abc")


times_s = st.floats(0, 2 * NOW_S)


@given(
    st.lists(st.tuples(st.sampled_from(Result), st.floats(-1e6, 1e6))),
    st.none() | st.floats(-1e9, 1e9),
    st.dictionaries(st.integers(0, 99), times_s),
    st.dictionaries(st.integers(0, 99), times_s),
    st.none() | times_s,
)
def test_any_facts_give_valid_findings(
    came: list[tuple[Result, float]],
    skew_s: float | None,
    refused_s: dict[int, float],
    stopped_s: dict[int, float],
    accepted_s: float | None,
) -> None:
    facts = Facts(
        now_s=NOW_S,
        uptime_s=0,
        max_age_s=300,
        webhooks=stats(*came, skew_s=skew_s),
        refused_s=refused_s,
        stopped_s=stopped_s,
        accepted_s=accepted_s,
    )
    for found in examine(facts):
        assert found.detail
        assert bool(found.hint) is (found.ok is False) or found.ok is None
        assert str(math.inf) not in found.detail


def test_a_request_that_crashed_is_a_failure_with_its_error() -> None:
    found = finding(
        "requests", troubles=[Trouble(TroubleCode.REQUESTS_CRASHED, "500: 1, the latest for KeyError: 'x'")]
    )
    assert (found.ok, "KeyError: 'x'" in found.detail) == (False, True)
    assert found.hint
