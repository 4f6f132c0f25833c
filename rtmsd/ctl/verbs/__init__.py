"""The verbs, a module for each group of them."""

from typing import Final

from rtmsd.ctl.verb import Verb
from rtmsd.ctl.verbs import (
    completion,
    config,
    control,
    doctor,
    explain,
    live,
    recordings,
    session,
    status,
    streams,
    top,
    webhook,
)

GROUPS: Final = {
    "config": "check, show and compare the configuration",
    "recordings": "list, check, mend and delete recordings",
    "session": "start, stop, pause and resume sessions through Zoom's REST API",
    "webhook": "test the webhook endpoint",
}

ALL_VERBS: Final[tuple[Verb, ...]] = (
    *status.VERBS,
    *streams.VERBS,
    *top.VERBS,
    *live.VERBS,
    *doctor.VERBS,
    *explain.VERBS,
    *control.VERBS,
    *config.VERBS,
    *recordings.VERBS,
    *webhook.VERBS,
    *session.VERBS,
    *completion.VERBS,
)
"""In the order of `--help`."""
