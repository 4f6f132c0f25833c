"""Sessions by Zoom's REST API, through the daemon, which has the credentials: start, stop, pause, resume."""

import argparse
from functools import partial
from typing import Final

from rtmsd.ctl.exits import Exit
from rtmsd.ctl.verb import Call, Verb

PRODUCTS: Final = ("session", "meeting")
ACTIONS: Final = {
    "start": "start the stream of a running session",
    "stop": "stop it",
    "pause": "pause it",
    "resume": "go on with a paused one",
}


def control(action: str, call: Call) -> Exit:
    """Ask Zoom. Its refusal, 2308 or 2310 among them, is told by the daemon with its cause."""
    fields = {"product": call.args.product, "id": call.args.id}
    if call.args.app is not None:
        fields["app"] = call.args.app
    if call.args.participant is not None:
        fields["participant_user_id"] = call.args.participant
    answer = call.client.post(f"/v1/session/{action}", fields)
    call.out.said(answer, f"Zoom has accepted: {action} the stream of {call.args.product} {call.args.id}")
    return Exit.OK


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="session_id of a Video SDK session, or id of a meeting")
    parser.add_argument("--product", choices=PRODUCTS, default="session", help="default: session (Video SDK)")
    parser.add_argument("--app", metavar="NAME", help="the configured app to act for; needed when there are several")
    parser.add_argument("--participant", metavar="USER_ID", help="the participant in whose name it is done")


VERBS: Final = tuple(
    Verb(f"session {action}", partial(control, action), summary, _arguments) for action, summary in ACTIONS.items()
)
