"""`rtmsd simulate`: the simulator alone, for people who develop against RTMS without an account."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import trio

from rtmsd.errors import RtmsdError, leaves
from rtmsd.simulator.arguments import build_parser, settings_of
from rtmsd.simulator.interruption import cancel_at_signal
from rtmsd.simulator.record import WebhookDelivery
from rtmsd.simulator.scenario import Scenario, Step, built_in, load, play
from rtmsd.simulator.server import Simulator, open_simulator
from rtmsd.simulator.session import SimSession
from rtmsd.simulator.settings import SimulatorSettings

EXIT_USAGE = 2


class CaFileError(RtmsdError):
    """The file for our CA cannot be written."""


class Say(Protocol):
    """Prints what happened, and its particulars."""

    def __call__(self, text: str, **fields: Any) -> None: ...


def main(argv: list[str]) -> int:
    """Run the command with these arguments and return its exit status: 0, or 2 for a usage error."""
    arguments = build_parser().parse_args(argv)
    if arguments.list:
        return _list(as_json=arguments.json)
    mistakes: list[str] = []
    try:
        trio.run(_run, arguments, load(arguments.scenario), settings_of(arguments))
    except* RtmsdError as group:
        mistakes = [str(error) for error in leaves(group)]
    for mistake in mistakes:
        print(f"rtmsd simulate: {mistake}", file=sys.stderr)
    return EXIT_USAGE if mistakes else 0


def _list(*, as_json: bool) -> int:
    for scenario in built_in().values():
        about = {"name": scenario.name, "duration_s": scenario.duration_s, "title": scenario.title}
        print(json.dumps(about) if as_json else f"{scenario.name:16} {scenario.duration_s:5.0f} s  {scenario.title}")
    return 0


async def _run(arguments: argparse.Namespace, scenario: Scenario, settings: SimulatorSettings) -> None:
    say: Say = partial(_say, as_json=arguments.json)
    async with open_simulator(settings) as simulator:
        if arguments.tls is not None:
            await _write_ca(arguments.tls, simulator.ca_pem)
        async with trio.open_nursery() as nursery:
            await nursery.start(cancel_at_signal, nursery.cancel_scope)
            await _perform(simulator, scenario, arguments.sessions, say)
            nursery.cancel_scope.cancel()
        for session in simulator.sessions.values():
            _sum_up(session, say)


async def _write_ca(path: Path, ca_pem: bytes) -> None:
    try:
        await trio.Path(path).write_bytes(ca_pem)
    except OSError as error:
        raise CaFileError(f"--tls {path}: {error.strerror}") from error


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
    if settings.webhook_url is not None:
        if await simulator.validate_endpoint():
            say("endpoint validated")
        else:
            say("endpoint does not validate", why=_why_invalid(simulator.webhooks[-1]))
    async with trio.open_nursery() as nursery:
        for _ in range(sessions):
            nursery.start_soon(_play, simulator, scenario, say)


def _why_invalid(challenge: WebhookDelivery) -> str:
    if challenge.status is None:
        return challenge.error
    if challenge.status != 200:
        return f"it answered with status {challenge.status} instead of 200"
    return "its answer is not Zoom's token with the hash of it under the webhook secret"


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
            webhook_error=started.error if simulator.settings.webhook_url is not None else None,
        )

    session = await play(simulator, scenario, announce, greet)
    if session.stop_reason is not None:
        await session.ended.wait()


def _sum_up(session: SimSession, say: Say) -> None:
    """Tell what a session came to, also one that a signal, or a scenario without a stop, left open."""
    stream, record = {"rtms_stream_id": session.rtms_stream_id}, session.record
    refusals = Counter((refused.kind, refused.status_code, refused.reason) for refused in record.refusals())
    for (kind, status_code, reason), times in refusals.items():
        say("handshake refused", **stream, kind=kind, status_code=status_code, reason=reason, times=times)
    for name, times in record.violation_names().items():
        first = next(violation for violation in record.violations if violation.name == name)
        at_s = (first.at_ms - session.started_ms) / 1000
        say("the client must not do this", **stream, name=name, detail=first.detail, at_s=at_s, times=times)
    say("session ended" if session.ended.is_set() else "session left open", **stream, **record.summary())


def _say(text: str, *, as_json: bool, **fields: Any) -> None:
    if as_json:
        print(json.dumps({"message": text, **fields}), flush=True)
    else:
        known = {name: value for name, value in fields.items() if value not in (None, "")}
        print(text, *(f"\n    {name}: {_in_words(value)}" for name, value in known.items()), sep="", flush=True)


def _in_words(value: object) -> str:
    """Return a value as a person reads it: no brackets, no quotes."""
    match value:
        case Mapping():
            return ", ".join(f"{key} {item}" for key, item in value.items()) or "none"
        case list():
            return ", ".join(map(_in_words, value)) or "none"
        case tuple():
            return " ".join(map(str, value))
    return str(value)
