"""`rtmsd simulate`: the simulator alone, for people who develop against RTMS without an account."""

import argparse
import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import trio

from rtmsd.simulator.scenario import Scenario, ScenarioError, Step, built_in, load, play
from rtmsd.simulator.server import Simulator, open_simulator
from rtmsd.simulator.session import SimSession
from rtmsd.simulator.settings import SimulatorSettings, Tone

EXIT_USAGE = 2
CLIENT_SECRET = "RTMSD_CLIENT_SECRET"  # of the environment
WEBHOOK_SECRET = "RTMSD_WEBHOOK_SECRET"


def main(argv: list[str]) -> int:
    """Run the command with these arguments and return its exit status: 0, or 2 for a usage error."""
    arguments = _parser().parse_args(argv)
    if arguments.list:
        return _list(as_json=arguments.json)
    try:
        scenario = load(arguments.scenario)
        settings = _settings(arguments)
    except (ScenarioError, ValueError) as exc:
        print(f"rtmsd simulate: {exc}", file=sys.stderr)
        return EXIT_USAGE
    try:
        trio.run(_run, arguments, scenario, settings)
    except KeyboardInterrupt:
        pass
    except OSError as exc:
        print(f"rtmsd simulate: {arguments.host}:{arguments.port}: {exc}", file=sys.stderr)
        return EXIT_USAGE
    return 0


def _parser() -> argparse.ArgumentParser:
    defaults = SimulatorSettings()
    parser = argparse.ArgumentParser(
        prog="rtmsd simulate",
        description="Play Zoom: post a signed rtms_started webhook, serve signaling and media, follow a scenario.",
    )
    parser.add_argument(
        "scenario", nargs="?", default="conversation", help="a name from --list, or a TOML file (%(default)s)"
    )
    parser.add_argument("--webhook-url", help="where to post webhooks; without it the URL to connect to is printed")
    parser.add_argument("--client-id", default=defaults.client_id, help="(%(default)s)")
    parser.add_argument("--client-secret", help=f"default: ${CLIENT_SECRET}, or a fixed one that is printed")
    parser.add_argument("--webhook-secret", help=f"default: ${WEBHOOK_SECRET}, or a fixed one that is printed")
    parser.add_argument("--sessions", type=int, default=1, metavar="N", help="so many at once (%(default)s)")
    parser.add_argument("--speed", type=float, default=1.0, help="Zoom's seconds in one of ours (%(default)s)")
    parser.add_argument("--host", default=defaults.host, help="(%(default)s)")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one (%(default)s)")
    parser.add_argument("--tls", metavar="CA.PEM", type=Path, help="serve wss:// and write our CA to this file")
    parser.add_argument("--webhook-ca", metavar="CA.PEM", type=Path, help="a CA for the webhook URL")
    parser.add_argument("--lenient", action="store_true", help="accept what only Zoom's samples do")
    parser.add_argument("--marked", action="store_true", help="audio that numbers its packets instead of speech")
    parser.add_argument("--list", action="store_true", help="list the scenarios")
    parser.add_argument("--json", action="store_true", help="print JSON, one object a line")
    return parser


def _list(*, as_json: bool) -> int:
    for scenario in built_in().values():
        about = {"name": scenario.name, "duration_s": scenario.duration_s, "title": scenario.title}
        print(json.dumps(about) if as_json else f"{scenario.name:16} {scenario.duration_s:5.0f} s  {scenario.title}")
    return 0


def _settings(arguments: argparse.Namespace) -> SimulatorSettings:
    defaults = SimulatorSettings()
    if arguments.sessions < 1:
        raise ValueError("--sessions must be at least 1")
    return SimulatorSettings(
        webhook_url=arguments.webhook_url,
        webhook_ca_file=arguments.webhook_ca,
        client_id=arguments.client_id,
        host=arguments.host,
        port=arguments.port,
        tls=arguments.tls is not None,
        speed=arguments.speed,
        strict=not arguments.lenient,
        tone=Tone.MARKED if arguments.marked else Tone.SPEECH,
        client_secret=arguments.client_secret or os.environ.get(CLIENT_SECRET) or defaults.client_secret,
        webhook_secret=arguments.webhook_secret or os.environ.get(WEBHOOK_SECRET) or defaults.webhook_secret,
    )


async def _run(arguments: argparse.Namespace, scenario: Scenario, settings: SimulatorSettings) -> None:
    say = partial(_say, as_json=arguments.json)
    async with open_simulator(settings) as simulator:
        if arguments.tls is not None:
            await trio.Path(arguments.tls).write_bytes(simulator.ca_pem)
        say("simulating", scenario=scenario.name, title=scenario.title, client_id=settings.client_id)
        if settings.client_secret == SimulatorSettings().client_secret:
            say("fixed secrets", client_secret=settings.client_secret, webhook_secret=settings.webhook_secret)
        say(
            "REST API",
            base_url=simulator.rest.base_url,
            token_url=simulator.rest.token_url,
            key=settings.api_key,
            secret=settings.api_secret,
            account_id=settings.account_id,
        )
        if settings.webhook_url is not None:
            say("endpoint validated" if await simulator.validate_endpoint() else "endpoint does not validate")
        async with trio.open_nursery() as nursery:
            for _ in range(arguments.sessions):
                nursery.start_soon(_play, simulator, scenario, say)


async def _play(simulator: Simulator, scenario: Scenario, say: Any) -> None:
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
        )

    session = await play(simulator, scenario, announce, greet)
    if session.stop_reason is not None:
        await session.ended.wait()
    say("session ended", rtms_stream_id=session.rtms_stream_id, **session.record.summary())


def _say(text: str, *, as_json: bool, **fields: Any) -> None:
    if as_json:
        print(json.dumps({"message": text, **fields}), flush=True)
    else:
        print(text, *(f"\n    {name}: {value}" for name, value in fields.items()), sep="", flush=True)
