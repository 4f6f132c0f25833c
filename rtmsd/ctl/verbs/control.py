"""Control of the daemon as a whole: drain, undrain, reload, shutdown."""

from rtmsd.ctl.changes import show_changes
from rtmsd.ctl.context import Context
from rtmsd.ctl.output import Item
from rtmsd.terminal import complain


def drain(context: Context) -> None:
    """Refuse new streams with 503, so that Zoom tries again later."""
    answer = context.client.post("/v1/drain")
    context.out.said(answer, "draining: new streams are refused, running ones go on")
    _warn_of_others(answer)


def undrain(context: Context) -> None:
    """Accept new streams again."""
    answer = context.client.post("/v1/undrain")
    context.out.said(answer, "new streams are accepted")
    _warn_of_others(answer)


def reload(context: Context) -> None:
    """Apply the changed file; with a mistake in it the verb is FAILED, and nothing changes."""
    answer = context.client.post("/v1/reload")
    if context.out.as_json:
        context.out.json(answer)
    else:
        show_changes(context.out, answer["changed"])
    _warn_of_others(answer)


def shutdown(context: Context) -> None:
    """Stop the daemon; systemd starts it again unless its units are stopped."""
    answer = context.client.post("/v1/shutdown", end_streams=str(int(context.args.end_streams)))
    context.out.said(answer, "the daemon is stopping" + (" and ends its streams" if context.args.end_streams else ""))


def _warn_of_others(answer: Item) -> None:
    """Say which workers have not done it yet. The parent sees to it that they do."""
    for worker, why in (answer.get("not_done") or {}).items():
        complain(f"rtmsctl: worker {worker} has not done it yet: {why}")
