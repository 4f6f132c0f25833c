"""Sessions by Zoom's REST API, through the daemon, which has the credentials: start, stop, pause, resume."""

from functools import partial
from typing import Final

from rtmsd.ctl.context import Call
from rtmsd.ctl.errors import Exit


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


start: Final = partial(control, "start")
stop: Final = partial(control, "stop")
pause: Final = partial(control, "pause")
resume: Final = partial(control, "resume")
