"""Control of the daemon as a whole: drain, undrain, reload, shutdown."""

from rtmsd.ctl.changes import show_changes
from rtmsd.ctl.context import Context


def drain(context: Context) -> None:
    """Refuse new streams with 503, so that Zoom tries again later."""
    context.out.said(context.client.post("/v1/drain"), "draining: new streams are refused, running ones go on")


def undrain(context: Context) -> None:
    """Accept new streams again."""
    context.out.said(context.client.post("/v1/undrain"), "new streams are accepted")


def reload(context: Context) -> None:
    """Apply the changed file; with a mistake in it the verb is FAILED, and nothing changes."""
    answer = context.client.post("/v1/reload")
    if context.out.as_json:
        context.out.json(answer)
    else:
        show_changes(context.out, answer["changed"])


def shutdown(context: Context) -> None:
    """Stop the daemon; systemd starts it again unless its units are stopped."""
    answer = context.client.post("/v1/shutdown", end_streams=str(int(context.args.end_streams)))
    context.out.said(answer, "the daemon is stopping" + (" and ends its streams" if context.args.end_streams else ""))
