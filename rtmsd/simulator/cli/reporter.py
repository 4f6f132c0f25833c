"""The output of `rtmsd simulate`: events, and mistakes of the client or its webhook endpoint with their remedies."""

import json
from collections.abc import Mapping
from typing import Any, Final, Protocol

from rtmsd.simulator.model.record import Handshake, Notice, StrayConnection, Violation, WebhookDelivery
from rtmsd.terminal import printable

_JUDGED: Final = frozenset({"genuine", "retry", "challenge"})
"""The kinds of webhooks that an endpoint must accept; it must refuse a forged one."""

_REMEDIES: Final[Mapping[int | None, str]] = {
    None: "start what listens there first, or correct --webhook-url; Zoom waits 3 s for an answer",
    400: "it found no event in it, or not all that it needs; its log says what",
    401: "sign with the secret that it has: --webhook-secret or $RTMSD_WEBHOOK_SECRET; or its clock is wrong",
    404: "nothing is served under this path: correct --webhook-url",
    405: "this path takes no POST: correct --webhook-url",
    413: "it takes no body of this size",
}
_REMEDIES_BY_CLASS: Final[Mapping[int, str]] = {
    2: "answer a challenge with the token and its hash under the webhook secret, as JSON",
    3: "Zoom follows no redirect: the event is lost; correct --webhook-url",
    4: "Zoom never sends again after a 4xx: the event is lost",
    5: "its log says why; Zoom sends again after 5, 25 and 85 minutes, counted from the first time",
}


class Say(Protocol):
    """Prints an event and its fields."""

    def __call__(self, text: str, **fields: Any) -> None: ...


class Reporter:
    """Reports refusals and violations as they happen, the same one of a stream once."""

    def __init__(self, say: Say) -> None:
        self.say = say
        self._reported: set[tuple[object, ...]] = set()
        self._latest: dict[tuple[str, int], WebhookDelivery] = {}

    def notice(self, rtms_stream_id: str | None, notice: Notice) -> None:
        """Report a notice if it is a failure and new."""
        match notice:
            case WebhookDelivery(kind=kind) if kind in _JUDGED:
                self._latest[notice.event, notice.event_ts] = notice
                tries = [f"{each.url}: {each.why}" for each in notice.failed_tries] or None
                where = {"event": notice.event, "url": notice.url, "failed_tries": tries}
                if not notice.is_accepted:
                    self.say("webhook not accepted", **where, why=notice.outcome, remedy=_remedy(notice))
                elif tries:
                    self.say("webhook failed over", **where)
            case Handshake() if notice.status_code != 0:
                about = (notice.kind, notice.status_code, notice.reason)
                if self._is_new(rtms_stream_id, *about):
                    self.say(
                        "handshake refused",
                        rtms_stream_id=rtms_stream_id,
                        kind=notice.kind,
                        status_code=notice.status_code,
                        reason=notice.reason,
                        remedy="correct the request; --lenient accepts it, as Zoom may" if notice.lenient else None,
                    )
            case Violation():
                if self._is_new(rtms_stream_id, notice.name):
                    detail = {"name": notice.name, "detail": notice.detail}
                    self.say("the client must not do this", rtms_stream_id=rtms_stream_id, **detail)
            case StrayConnection():
                if self._is_new(notice.why):
                    self.say("connection refused", why=notice.why)
            case _:
                pass

    def failed_webhooks(self) -> list[str]:
        """Return a line for each event that was never accepted, with the remedy."""
        return [
            f"{each.event} was not accepted: {each.outcome}: {_remedy(each)}"
            for each in self._latest.values()
            if not each.is_accepted
        ]

    def _is_new(self, *about: object) -> bool:
        is_new = about not in self._reported
        self._reported.add(about)
        return is_new


def print_line(text: str, *, as_json: bool, **fields: Any) -> None:
    """Print an event for people, or as a JSON object on one line."""
    if as_json:
        print(json.dumps({"message": text, **fields}), flush=True)
    else:
        known = {name: value for name, value in fields.items() if value not in (None, "")}
        lines = (f"    {name}: {printable(_in_words(value))}" for name, value in known.items())
        print("\n".join((printable(text), *lines)), flush=True)


def _in_words(value: object) -> str:
    """Return a value without brackets and quotes."""
    match value:
        case Mapping():
            return ", ".join(f"{key} {item}" for key, item in value.items()) or "none"
        case list():
            return ", ".join(map(_in_words, value)) or "none"
        case tuple():
            return " ".join(map(str, value))
    return str(value)


def _remedy(delivery: WebhookDelivery) -> str:
    status = delivery.status
    return _REMEDIES.get(status) or _REMEDIES_BY_CLASS[min((status or 500) // 100, 5)]
