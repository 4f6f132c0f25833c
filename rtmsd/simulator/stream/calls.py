"""Calls: the events and transfers of contact centers and phones, and messages of versions to come."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

from rtmsd.protocol.enums import MediaType
from rtmsd.simulator.stream.faults import FaultyStream

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class CallStream(FaultyStream):
    """A stream of a call."""

    def voice_event(
        self,
        event_type: int,
        who: str | int | None = None,
        role: Literal["caller", "callee"] = "caller",
        phone_number: str = "",
        fields: Mapping[str, Any] = _NOTHING,
    ) -> None:
        """Send an event of a contact center: about a person, or with any fields, as those of IVR."""
        info: dict[str, Any] = {} if who is None else {"participant_info": self._info(who, role, phone_number)}
        self.announcer.event(event_type, **info, **fields)

    def code_event(
        self,
        event_code: int,
        who: str | int | None = None,
        unasked: bool = True,
        fields: Mapping[str, Any] = _NOTHING,
    ) -> None:
        """Send an event that has a code and no type, as Zoom Phone does.

        Args:
            unasked: False sends it only to who subscribed to it.
        """
        info = {} if who is None else {"participants": self.people([self.crowd.find(who)])}
        self.announcer.code_event(event_code, unasked=unasked, **info, **fields)

    def post_message(self, msg_type: int, media: MediaType | None = None, fields: Mapping[str, Any] = _NOTHING) -> None:
        """Send any message on signaling, or on the connection of `media`, if there is one."""
        message = {"msg_type": msg_type, **fields}
        if media is None:
            self.announcer.post(message)
        elif (connection := self.streaming(media)) is not None:
            connection.post(message)

    def transfer(self) -> None:
        """Close signaling with code 1000, and media with it; the client is expected back at the same address."""
        for connection in self.go_dark("the call was transferred"):
            self.host.nursery.start_soon(connection.close)

    def _info(self, who: str | int, role: str, phone_number: str) -> dict[str, Any]:
        user_id = self.crowd.find(who)
        number = {"phone_number": phone_number} if phone_number else {}
        return {
            "channel_id": str(user_id),
            "participant_mode": role,
            "display_name": self.crowd.name(user_id),
            **number,
        }
