"""Offers of a stream by its owner to another member, as JSON, read as strictly as a webhook. Pure."""

from typing import Final

import attrs
import msgspec

from rtmsd.cluster.engine import EngineError
from rtmsd.cluster.records import Count, Node, RandomId, StreamId

TAKE: Final = "take"
"""The question with which an offer is made."""

MAX_BYTES: Final = 16_384


class BadOffer(EngineError):
    """What another member sent is no offer. The text never has its content."""


@attrs.frozen(kw_only=True)
class Offer:
    """A stream that another member may have.

    Attributes:
        node, incarnation: of its owner.
        token: of the owner's tenure: an offer that comes late is of an earlier one.
        is_let_go: whoever gets this takes the stream now. Before, it only says whether it would.
    """

    rtms_stream_id: StreamId
    node: Node
    incarnation: RandomId
    token: Count
    is_let_go: bool = False


def encode_offer(offer: Offer) -> bytes:
    return msgspec.json.encode(offer)


def decode_offer(data: bytes) -> Offer:
    """Read an offer.

    Raises:
        BadOffer: it is none.
    """
    if len(data) > MAX_BYTES:
        raise BadOffer(f"the offer has more than {MAX_BYTES} bytes")
    try:
        return msgspec.json.decode(data, type=Offer)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise BadOffer(f"the offer cannot be read: {type(error).__name__}") from None
