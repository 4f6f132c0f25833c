"""What changes the daemon as a whole: drain, undrain, reload, shutdown."""

from rtmsd.ctl.changes import show_changes
from rtmsd.ctl.context import Call
from rtmsd.ctl.errors import Exit


def drain(call: Call) -> Exit:
    """Refuse new streams with 503, so that Zoom tries again later."""
    call.out.said(call.client.post("/v1/drain"), "draining: new streams are refused, running ones go on")
    return Exit.OK


def undrain(call: Call) -> Exit:
    """Take new streams again."""
    call.out.said(call.client.post("/v1/undrain"), "new streams are taken")
    return Exit.OK


def reload(call: Call) -> Exit:
    """Apply the changed file whole; a mistake in it is FAILED, and nothing changes."""
    answer = call.client.post("/v1/reload")
    if call.out.as_json:
        call.out.json(answer)
    else:
        show_changes(call.out, answer["changed"])
    return Exit.OK


def shutdown(call: Call) -> Exit:
    """Stop the daemon; systemd starts it again unless it was told to stop it."""
    answer = call.client.post("/v1/shutdown", end_streams=str(int(call.args.end_streams)))
    call.out.said(answer, "the daemon is stopping" + (" and ends its streams" if call.args.end_streams else ""))
    return Exit.OK
