"""Troubles of webhooks: each cause has its own text, as a wrong clock is not a wrong secret."""

import pytest

from rtmsd.daemon.health import LOST_EVENT_COUNTS_S, TroubleCode, webhook_troubles
from rtmsd.webhook.stats import Result, WebhookStats

NOW_S = 1_790_000_000.0


def stats(*results: Result) -> WebhookStats:
    webhooks = WebhookStats()
    for position, result in enumerate(results):
        webhooks.count(result, NOW_S - 10 + position)
    return webhooks


@pytest.mark.parametrize(
    ("result", "code", "says"),
    [
        (Result.STALE, TroubleCode.WEBHOOK_STALE, "400 s ahead of its timestamp"),
        (Result.SWAPPED, TroubleCode.WEBHOOK_SIGNATURES, "configured as client_secret"),
        (Result.FORGED, TroubleCode.WEBHOOK_SIGNATURES, "no webhook_secret verifies"),
    ],
)
def test_each_cause_has_its_own_text(result: Result, code: TroubleCode, says: str) -> None:
    webhooks = stats(*[result] * 3)
    webhooks.skew_s = 400
    (trouble,) = webhook_troubles(webhooks, NOW_S)
    assert trouble.code is code
    assert says in trouble.detail
    assert ("secret" in trouble.detail) == (result is not Result.STALE)
    webhooks.count(Result.ACCEPTED, NOW_S)
    assert list(webhook_troubles(webhooks, NOW_S)) == []


@pytest.mark.parametrize("result", [Result.UNSIGNED, Result.TOO_LARGE, Result.TOO_SLOW])
def test_posts_of_strangers_are_no_trouble(result: Result) -> None:
    assert list(webhook_troubles(stats(*[result] * 10), NOW_S)) == []


def test_a_genuine_event_that_could_not_be_read_is_lost_for_ever() -> None:
    webhooks = stats(Result.BAD_EVENT)
    webhooks.last_bad_event = "server_urls holds no wss:// URL"
    (trouble,) = webhook_troubles(webhooks, NOW_S)
    assert trouble.code is TroubleCode.WEBHOOK_EVENTS
    assert "server_urls holds no wss:// URL" in trouble.detail
    assert list(webhook_troubles(webhooks, NOW_S + LOST_EVENT_COUNTS_S)) == []
