"""Control of sessions through the daemon, which has the REST credentials: start, stop, pause, resume."""

from functools import partial
from typing import Final

from rtmsd.ctl.context import Context


def control(action: str, context: Context) -> None:
    """Ask Zoom. The daemon reports a refusal, such as 2308 or 2310, with its cause."""
    fields = {"product": context.args.product, "id": context.args.id}
    if context.args.app is not None:
        fields["app"] = context.args.app
    if context.args.participant is not None:
        fields["participant_user_id"] = context.args.participant
    answer = context.client.post(f"/v1/session/{action}", fields)
    context.out.said(answer, f"Zoom has accepted: {action} the stream of {context.args.product} {context.args.id}")


start: Final = partial(control, "start")
stop: Final = partial(control, "stop")
pause: Final = partial(control, "pause")
resume: Final = partial(control, "resume")
