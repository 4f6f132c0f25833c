"""The command line of `rtmsd simulate`: its parser, and the settings made from it."""

import argparse
import math
import os
import ssl
from pathlib import Path
from typing import Final, get_args
from urllib.parse import urlsplit

import httpx

from rtmsd.simulator.model.settings import DuplicateSignaling, SimulatorSettings, Tone, WebhookRoute

CLIENT_SECRET: Final = "RTMSD_CLIENT_SECRET"  # of the environment
WEBHOOK_SECRET: Final = "RTMSD_WEBHOOK_SECRET"
TLS_HOST: Final = "localhost"  # a certificate is verified by name, by Zoom's SDK only so
_HIGHEST_PORT: Final = 65535
_HIGHEST_SPEED: Final = 1000  # a machine cannot keep up with more


def build_parser() -> argparse.ArgumentParser:
    defaults = SimulatorSettings()
    parser = argparse.ArgumentParser(
        prog="rtmsd simulate",
        description="Play Zoom: post a signed rtms_started webhook, serve signaling and media, follow a scenario.",
        epilog="exit status: 0 played to its end, or stopped by a signal; 1 a webhook was not accepted; "
        "2 usage, or an address that is taken",
        allow_abbrev=False,
    )
    parser.add_argument(
        "scenario", nargs="?", default="conversation", help="a name from --list, or a TOML file (%(default)s)"
    )
    parser.add_argument(
        "--webhook-url",
        type=_web_url,
        action="append",
        metavar="URL",
        help="where to post webhooks; without it the URL to connect to is printed. Given several times, a balancer "
        "stands in front of the URLs",
    )
    parser.add_argument(
        "--webhook-route",
        choices=get_args(WebhookRoute),
        default=defaults.webhook_route,
        help="the balancer's choice among several URLs (%(default)s)",
    )
    parser.add_argument(
        "--webhook-failover",
        action="store_true",
        help="the balancer tries the next URL after a 5xx, without a connection, and without an answer within "
        f"{defaults.webhook_try_s:g} s; Zoom itself sends again only after minutes",
    )
    parser.add_argument("--client-id", default=defaults.client_id, metavar="ID", help="(%(default)s)")
    parser.add_argument("--client-secret", metavar="SECRET", help=f"default: ${CLIENT_SECRET}, or one that is printed")
    parser.add_argument(
        "--webhook-secret", metavar="SECRET", help=f"default: ${WEBHOOK_SECRET}, or one that is printed"
    )
    parser.add_argument("--sessions", type=_sessions, default=1, metavar="N", help="so many at once (%(default)s)")
    parser.add_argument(
        "--speed", type=_speed, default=1.0, metavar="X", help="Zoom's seconds in one local second (%(default)g)"
    )
    parser.add_argument(
        "--host",
        help=f"name or address to listen on, as URLs and certificate have it ({defaults.host}; with --tls {TLS_HOST})",
    )
    parser.add_argument("--port", type=_port, default=0, help="0 takes a free one (%(default)s)")
    parser.add_argument(
        "--tls",
        metavar="CA.PEM",
        type=Path,
        help="serve wss:// with the CA in this file, made if need be; its key is in CA.PEM.key",
    )
    parser.add_argument("--webhook-ca", metavar="CA.PEM", type=_ca_file, help="a CA for the webhook URL")
    parser.add_argument(
        "--duplicate-signaling",
        choices=get_args(DuplicateSignaling),
        default=defaults.duplicate_signaling,
        help="what a second signaling connection of a stream meets: refused with status 8, or it evicts the first "
        "(%(default)s; a scenario may say otherwise)",
    )
    parser.add_argument(
        "--name-processes",
        action="store_true",
        help="say which process of this machine held a stream, where its connections come from several",
    )
    parser.add_argument("--lenient", action="store_true", help="accept what only Zoom's samples do")
    parser.add_argument("--marked", action="store_true", help="audio that numbers its packets instead of speech")
    parser.add_argument("--list", action="store_true", help="list the scenarios")
    parser.add_argument("--json", action="store_true", help="print JSON, one object a line")
    return parser


def settings_of(arguments: argparse.Namespace) -> SimulatorSettings:
    """Return the settings from parsed arguments and the environment."""
    defaults = SimulatorSettings()
    return SimulatorSettings(
        webhook_url=arguments.webhook_url,
        webhook_route=arguments.webhook_route,
        webhook_failover=arguments.webhook_failover,
        webhook_ca_file=arguments.webhook_ca,
        client_id=arguments.client_id,
        host=arguments.host or (defaults.host if arguments.tls is None else TLS_HOST),
        port=arguments.port,
        tls=arguments.tls is not None,
        ca_file=arguments.tls,
        speed=arguments.speed,
        duplicate_signaling=arguments.duplicate_signaling,
        name_processes=arguments.name_processes,
        strict=not arguments.lenient,
        tone=Tone.MARKED if arguments.marked else Tone.SPEECH,
        client_secret=arguments.client_secret or os.environ.get(CLIENT_SECRET) or defaults.client_secret,
        webhook_secret=arguments.webhook_secret or os.environ.get(WEBHOOK_SECRET) or defaults.webhook_secret,
    )


# Types of arguments. argparse shows the text of an ArgumentTypeError as it is.


def _web_url(text: str) -> str:
    try:
        url, port = httpx.URL(text), urlsplit(text).port  # each finds mistakes that the other accepts
    except (httpx.InvalidURL, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None
    if url.scheme not in ("http", "https") or not url.host or port == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no http:// or https:// URL")
    return text


def _sessions(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of sessions: 1 or more")
    return int(text)


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > _HIGHEST_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 0 to {_HIGHEST_PORT}")
    return int(text)


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = math.nan
    if not 0 < speed <= _HIGHEST_SPEED:
        raise argparse.ArgumentTypeError(f"{text!r} is no speed: above 0, and {_HIGHEST_SPEED} at most")
    return speed


def _ca_file(text: str) -> Path:
    try:
        ssl.create_default_context(cafile=text)
    except ssl.SSLError:
        raise argparse.ArgumentTypeError(f"{text} holds no certificate in PEM") from None
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error.strerror}") from None
    return Path(text)
