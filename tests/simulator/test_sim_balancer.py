"""Webhooks through a balancer to one of several endpoints."""

import random
from collections import Counter
from typing import get_args

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from rtmsd.simulator import SimulatorSettings, Timing, open_simulator
from rtmsd.simulator.cli.arguments import build_parser, settings_of
from rtmsd.simulator.cli.reporter import Reporter
from rtmsd.simulator.model.settings import WebhookRoute
from rtmsd.simulator.wire.balancer import Balancer
from tests.simulator.conftest import open_endpoints

SETTINGS = SimulatorSettings(webhook_try_s=60, webhook_timeout_s=60, timing=Timing(attach_window_s=1e9))
GONE = "http://127.0.0.1:9/webhook"


def settings_for(*urls: str, failover: bool = True, route: WebhookRoute = "first") -> SimulatorSettings:
    return attrs.evolve(SETTINGS, webhook_url=urls, webhook_route=route, webhook_failover=failover)


def urls(count: int) -> list[str]:
    return [f"http://127.0.0.1:{number}/" for number in range(1, count + 1)]


@given(st.integers(1, 5), st.sampled_from(get_args(WebhookRoute)), st.integers(1, 9))
def test_failover_tries_each_url_once_in_turn(count: int, route: WebhookRoute, posts: int) -> None:
    alone = Balancer(urls(count), route, failover=False, chance=random.Random(count))
    balancer = Balancer(urls(count), route, failover=True, chance=random.Random(count))
    for _ in range(posts):
        order = balancer.order()
        assert sorted(order) == urls(count)
        turned = urls(count).index(order[0])
        assert list(order) == urls(count)[turned:] + urls(count)[:turned]
        assert alone.order() == order[:1]


def test_the_routes() -> None:
    def chosen(route: WebhookRoute) -> list[str]:
        balancer = Balancer(["a", "b", "c"], route, failover=False, chance=random.Random(1))
        return [balancer.order()[0] for _ in range(300)]

    assert chosen("first") == ["a"] * 300
    assert chosen("round-robin") == ["a", "b", "c"] * 100
    assert min(Counter(chosen("random"))[url] for url in "abc") > 50
    assert Balancer([], "random", failover=True).order() == ()


async def test_webhooks_go_round_and_the_record_says_where() -> None:
    async with open_endpoints(3) as endpoints:
        settings = settings_for(*(each.url for each in endpoints), failover=False, route="round-robin")
        async with open_simulator(settings) as simulator:
            session = await simulator.start_session([])
            await session.duplicate_webhook()
            await session.stop()
        assert [[body["event"] for body in each.bodies()] for each in endpoints] == [
            ["session.rtms_started"],
            ["session.rtms_started"],
            ["session.rtms_stopped"],
        ]
        assert [delivery.url for delivery in session.record.webhooks] == [each.url for each in endpoints]


@pytest.mark.parametrize(("status", "tries"), [(503, 2), (500, 2), (404, 1), (200, 1), (302, 1)])
async def test_only_a_5xx_goes_on_to_the_next(status: int, tries: int) -> None:
    async with open_endpoints(2) as [first, second]:
        first.statuses = [status]
        async with open_simulator(settings_for(first.url, second.url)) as simulator:
            session = await simulator.start_session([])
        assert [len(first.requests), len(second.requests)] == [1, tries - 1]
        [delivery] = session.record.webhooks
        assert delivery.status == (status if tries == 1 else 200)
        assert [each.url for each in delivery.failed_tries] == [first.url] * (tries - 1)
        if tries == 2:
            assert first.requests[0][1] == second.requests[0][1]


async def test_without_failover_zoom_gets_the_failure() -> None:
    async with open_endpoints(1) as [endpoint], open_simulator(settings_for(GONE, endpoint.url, failover=False)) as sim:
        session = await sim.start_session([])
    assert [delivery.error for delivery in session.record.webhooks] == ["ConnectError: Connection refused"]
    assert endpoint.requests == []


async def test_a_refused_connection_goes_on_to_the_next() -> None:
    async with open_endpoints(1) as [endpoint], open_simulator(settings_for(GONE, GONE, endpoint.url)) as simulator:
        session = await simulator.start_session([])
    [delivery] = session.record.webhooks
    assert (delivery.status, delivery.url) == (200, endpoint.url)
    assert {(each.url, each.why) for each in delivery.failed_tries} == {(GONE, "ConnectError: Connection refused")}


async def test_one_that_hangs_is_given_up_and_all_together_have_zooms_time() -> None:
    async with open_endpoints(1) as [endpoint]:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")  # accepts by its backlog, and never answers
        async with listener:
            hanging = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/"
            settings = attrs.evolve(settings_for(hanging, endpoint.url), webhook_try_s=3)
            async with open_simulator(settings) as simulator:
                reached = await simulator.start_session([])
            settings = attrs.evolve(
                settings_for(hanging, hanging, hanging, endpoint.url), webhook_try_s=0.2, webhook_timeout_s=0.5
            )
            async with open_simulator(settings) as simulator:
                given_up = await simulator.start_session([])
    [delivery] = reached.record.webhooks
    assert delivery.status == 200
    assert [each.why for each in delivery.failed_tries] == ["no answer within 3 s"]
    [delivery] = given_up.record.webhooks
    assert (delivery.status, delivery.error, delivery.url) == (None, "no answer within 0.5 s", hanging)
    assert len(endpoint.requests) == 1


def test_the_command_takes_several_urls() -> None:
    arguments = ["--webhook-url", GONE, "--webhook-url", "http://127.0.0.1:10/", "--webhook-route", "random"]
    settings = settings_of(build_parser().parse_args([*arguments, "--webhook-failover"]))
    assert settings.webhook_url == (GONE, "http://127.0.0.1:10/")
    assert (settings.webhook_route, settings.webhook_failover) == ("random", True)
    assert settings_of(build_parser().parse_args([])) == SimulatorSettings()


async def test_a_failover_is_reported() -> None:
    said: list[tuple[str, dict[str, object]]] = []
    reporter = Reporter(lambda text, **fields: said.append((text, fields)))
    async with open_endpoints(1) as [endpoint], open_simulator(settings_for(GONE, endpoint.url)) as simulator:
        simulator.observer = reporter.notice
        endpoint.statuses = [200, 503]
        for reason in ("limit", "again"):
            await simulator.send_webhook("rtms.concurrency_limited", {"reason": reason})
    tries = [f"{GONE}: ConnectError: Connection refused"]
    assert [(text, fields["url"], fields["failed_tries"]) for text, fields in said] == [
        ("webhook failed over", endpoint.url, tries),
        ("webhook not accepted", endpoint.url, tries),
    ]
