"""webhook test: the URL validation that Zoom sends for a new address, signed and forged."""

import json
import secrets
import time
from typing import Final, NamedTuple
from urllib.parse import SplitResult

from rtmsd.config import AppConfig, Config
from rtmsd.ctl.arguments import web_url
from rtmsd.ctl.context import Context
from rtmsd.ctl.errors import CtlError, Exit
from rtmsd.ctl.findings import Finding, show_findings
from rtmsd.ctl.local_config import config_file, read_config
from rtmsd.ctl.web import Answer, Unanswered, request
from rtmsd.webhook.verify import sign, validation_answer

ZOOM_WAITS_S: Final = 3.0

_REDIRECTED: Final = "Zoom follows no redirect: enter the final address in the Zoom app."
_ELSEWHERE: Final = "Something else answers there: check the path (webhook.path), and where the front proxy sends it."
_PROXY: Final = "The front proxy does not reach rtmsd: compare its upstream address with `rtmsctl status`."
HINT_OF_STATUS: Final = {
    **dict.fromkeys((301, 302, 307, 308), _REDIRECTED),
    401: "The daemon has other secrets than the file (`rtmsctl reload`), the clocks differ (`rtmsctl doctor`), "
    "or a proxy alters the body.",
    404: _ELSEWHERE,
    405: _ELSEWHERE,
    502: _PROXY,
    503: "rtmsd is starting or overloaded: `rtmsctl status`.",
    504: _PROXY,
}


class Challenge(NamedTuple):
    """An `endpoint.url_validation` that was sent, and its answer."""

    plain_token: str
    answer: Answer


def test(context: Context) -> Exit:
    """Send a URL validation, forged and signed: the first must be refused, the second answered correctly.

    In this order, so that the last that the daemon sees is a good one.
    """
    config = read_config(config_file(context))
    secret = _app(config, context.args.app).webhook_secrets[0]
    url = context.args.url or _own_url(context, config)
    try:
        forged = _challenge(url, secrets.token_urlsafe(16), context.timeout_s)
        signed = _challenge(url, secret, context.timeout_s)
    except Unanswered as error:
        hint = f"`rtmsctl doctor --url {url.geturl()}` checks the network path."
        show_findings(context.out, [Finding("reachable", False, str(error), hint)])
        return Exit.TIMED_OUT if error.timed_out else Exit.FAILED
    return show_findings(context.out, [*_judge_signed(signed, secret), _judge_forged(forged)])


def _app(config: Config, name: str | None) -> AppConfig:
    apps = [app for app in config.apps if name in (None, app.name)]
    if len(apps) == 1:
        return apps[0]
    names = ", ".join(app.name for app in config.apps)
    raise CtlError(
        Exit.USAGE, f"no app is called {name}" if name else "there are several apps", f"--app: one of {names}"
    )


def _own_url(context: Context, config: Config) -> SplitResult:
    addresses: list[str] = context.client.get("/v1/status")["listening"]["webhook"]
    address = next((each for each in addresses if not each.startswith("unix:")), None)
    if address is None:
        raise CtlError(
            Exit.USAGE, f"the daemon listens on {', '.join(addresses)}", "Name the public address: https://..."
        )
    return web_url(f"http://{address}{config.webhook.path}")


def _challenge(url: SplitResult, secret: str, timeout_s: float) -> Challenge:
    token, now_s = secrets.token_urlsafe(16), time.time()
    event = {"event": "endpoint.url_validation", "event_ts": int(now_s * 1000), "payload": {"plainToken": token}}
    body, timestamp = json.dumps(event).encode(), str(int(now_s))
    headers = {
        "content-type": "application/json; charset=utf-8",
        "x-zm-request-timestamp": timestamp,
        "x-zm-signature": sign(secret, timestamp, body),
    }
    return Challenge(token, request(url, "POST", body, headers, timeout_s=timeout_s))


def _judge_signed(challenge: Challenge, secret: str) -> list[Finding]:
    answer = challenge.answer
    if answer.status != 200:
        hint = HINT_OF_STATUS.get(answer.status, "The daemon's log says why.")
        return [Finding("signed", False, f"a signed event was answered {answer.status}", hint)]
    try:
        right = json.loads(answer.body) == validation_answer(secret, challenge.plain_token)
    except ValueError:
        right = False
    took = f"answered after {answer.took_s * 1000:.0f} ms"
    return [
        Finding(
            "signed",
            right,
            "the URL validation was answered correctly" if right else "200, but not rtmsd's answer",
            "" if right else _ELSEWHERE,
        ),
        Finding(
            "in time",
            answer.took_s < ZOOM_WAITS_S,
            took,
            f"Zoom waits {ZOOM_WAITS_S:g} s: look at the front proxy and the load.",
        ),
    ]


def _judge_forged(challenge: Challenge) -> Finding:
    status = challenge.answer.status
    return Finding(
        "forged", status == 401, f"a forged event was answered {status}", "It must be 401: anybody could start streams."
    )
