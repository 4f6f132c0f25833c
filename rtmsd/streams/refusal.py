"""A handshake that Zoom refused: told of, remembered for `rtmsctl doctor`, and what it demands."""

from collections.abc import Iterable, Mapping
from typing import Literal

import structlog

from rtmsd.errors import HandshakeRejected, RemoteProtocolError
from rtmsd.protocol.enums import MediaType
from rtmsd.protocol.policy import StatusAction, on_status
from rtmsd.streams.diagnostics import History

log = structlog.get_logger()


class MediaNotGranted(RemoteProtocolError):
    """A media handshake succeeded, but not for all that was asked for, or with what cannot be stored.

    Attributes:
        whys: of each of these media, why.
    """

    def __init__(self, whys: Mapping[MediaType, str]) -> None:
        super().__init__("; ".join(dict.fromkeys(whys.values())))
        self.whys = whys


def take_note(
    history: History, of: Literal["signaling", "media"], refused: HandshakeRejected, media: Iterable[str] = ()
) -> StatusAction:
    """Return what to do. Wrong credentials are an error: they concern all streams of the app, and only a person can
    mend them.
    """
    action = on_status(refused.status_code)
    history.refused(refused.status_code)
    tell = log.error if action is StatusAction.BAD_CREDENTIALS else log.warning
    tell(
        f"{of} handshake refused",
        status_code=refused.status_code,
        reason=refused.reason,
        action=action.name.lower(),
        **({"media": sorted(media)} if media else {}),
    )
    return action
