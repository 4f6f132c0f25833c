"""The command `rtmsd simulate`: the simulator alone, for development against RTMS without an account."""

import argparse
import json
from functools import partial

import trio

from rtmsd.demo_extra import missing_extra
from rtmsd.errors import RtmsdError, leaves
from rtmsd.simulator.cli.arguments import build_parser, settings_of
from rtmsd.simulator.cli.interruption import cancel_at_signal
from rtmsd.simulator.cli.reporter import Reporter, Say, print_line
from rtmsd.simulator.model.settings import SimulatorSettings
from rtmsd.simulator.model.tenures import tenures
from rtmsd.simulator.scenario.scenario import Scenario, Step, built_in, load, play
from rtmsd.simulator.server.server import Simulator, open_simulator
from rtmsd.simulator.stream.session import SimSession
from rtmsd.terminal import complain

EXIT_FAILED = 1
EXIT_USAGE = 2


def main(argv: list[str]) -> int:
    """Run the command with these arguments and return its exit status.

    Returns:
        0 played to its end or stopped by a signal; 1 a webhook was not accepted, or TLS without trustme; 2 usage.
    """
    arguments = build_parser().parse_args(argv)
    if arguments.list:
        return _list(as_json=arguments.json)
    if arguments.tls is not None and (missing := missing_extra("rtmsd simulate --tls")):
        complain(missing)
        return EXIT_FAILED
    reporter = Reporter(partial(print_line, as_json=arguments.json))
    mistakes: list[str] = []
    try:
        trio.run(_run, arguments, load(arguments.scenario), settings_of(arguments), reporter)
    except* RtmsdError as group:
        mistakes = [str(error) for error in leaves(group)]
    for mistake in mistakes:
        complain(f"rtmsd simulate: {mistake}")
    if mistakes:
        return EXIT_USAGE
    failures = reporter.failed_webhooks()
    for failure in failures:
        complain(f"rtmsd simulate: {failure}")
    return EXIT_FAILED if failures else 0


def _list(*, as_json: bool) -> int:
    for scenario in built_in().values():
        about = {"name": scenario.name, "duration_s": scenario.duration_s, "title": scenario.title}
        print(json.dumps(about) if as_json else f"{scenario.name:16} {scenario.duration_s:5.0f} s  {scenario.title}")
    return 0


async def _run(
    arguments: argparse.Namespace, scenario: Scenario, settings: SimulatorSettings, reporter: Reporter
) -> None:
    async with open_simulator(settings) as simulator:
        simulator.observer = reporter.notice
        async with trio.open_nursery() as nursery:
            await nursery.start(cancel_at_signal, nursery.cancel_scope)
            await _perform(simulator, scenario, arguments.sessions, reporter.say)
            nursery.cancel_scope.cancel()
        for session in simulator.sessions.values():
            _sum_up(session, reporter.say)


async def _perform(simulator: Simulator, scenario: Scenario, sessions: int, say: Say) -> None:
    settings = simulator.settings
    say("simulating", scenario=scenario.name, title=scenario.title, client_id=settings.client_id)
    fixed = {
        name: getattr(settings, name)
        for name in ("client_secret", "webhook_secret")
        if getattr(settings, name) == getattr(SimulatorSettings(), name)
    }
    if fixed:
        say("fixed secrets", **fixed)
    say(
        "REST API",
        base_url=simulator.rest.base_url,
        token_url=simulator.rest.token_url,
        key=settings.api_key,
        secret=settings.api_secret,
        account_id=settings.account_id,
    )
    if settings.ca_file is not None:
        say("TLS", ca_file=str(settings.ca_file))
    if settings.webhook_url and await simulator.validate_endpoint():
        say("endpoint validated")
    async with trio.open_nursery() as nursery:
        for _ in range(sessions):
            nursery.start_soon(_play, simulator, scenario, say)


async def _play(simulator: Simulator, scenario: Scenario, say: Say) -> None:
    async def announce(session: SimSession, step: Step) -> None:
        say(str(step), rtms_stream_id=session.rtms_stream_id, at_s=step.at_s)

    async def greet(session: SimSession) -> None:
        started = session.record.webhooks[-1]
        say(
            "session started",
            rtms_stream_id=session.rtms_stream_id,
            session_id=session.session_id,
            signaling_url=session.signaling_url,
            webhook_status=started.status,
            webhook_error=started.error if started.url else None,
        )

    session = await play(simulator, scenario, announce, greet)
    if session.stop_reason is not None:
        await session.ended.wait()


def _sum_up(session: SimSession, say: Say) -> None:
    """Print the totals of a session, also of one left open by a signal or by a scenario without a stop."""
    text = "session ended" if session.ended.is_set() else "session left open"
    held_by = [
        {"peer": each.peer.address, "pid": each.peer.pid, "from_ms": each.from_ms, "to_ms": each.to_ms}
        for each in tenures(session.record)
    ]
    say(text, rtms_stream_id=session.rtms_stream_id, **session.record.summary(), held_by=held_by)
