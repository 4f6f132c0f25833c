"""The records of ownership, as every engine keeps them."""

import enum
from collections.abc import Mapping
from typing import Any, Final

import attrs

from rtmsd.state.rows import Known

VERSION: Final = 1
"""Of the records that this version writes. A stream whose record is newer is left to newer members."""


class TenureState(enum.StrEnum):
    LIVE = "live"
    ENDED = "ended"
    REVOKED = "revoked"


class Why(enum.StrEnum):
    """The reason for which a member became the owner."""

    STARTED = "started"  # by a webhook: nobody owned it
    RESUMED = "resumed"  # by the member that had it before its restart
    DIED = "died"  # the owner is dead
    UNREACHABLE = "unreachable"  # a webhook found nobody where the owner should be
    HANDED_OVER = "handed_over"  # drained, or moved by an operator
    RENEWED = "renewed"  # the same tenure, before its record ages out


@attrs.frozen(kw_only=True)
class Own:
    """The ownership record of a stream: who holds it, and what is known of it.

    Attributes:
        incarnation: of the member; a later life of it is not the owner.
        epoch: 1 for the first tenure.
        nonce: random; a claim whose answer was lost is mine only if mine is in the record.
        known: row and deliveries as they were when this was written.
        version: of the writer's records.
        more: keys of newer versions, kept and handed on.
    """

    rtms_stream_id: str
    node: str
    incarnation: str
    epoch: int
    nonce: str
    why: Why
    state: TenureState = TenureState.LIVE
    known: Known = attrs.field(factory=Known)
    version: int = VERSION
    more: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen
class Held:
    """An ownership record as the engine has it.

    Attributes:
        own: None: nobody owns the stream; the state file knows it from a time without members.
        token: number of the record, by which appends and claims are fenced; 0: there is none.
        known: the newest that is known of the stream: the owner may have written since its claim.
    """

    own: Own | None = None
    token: int = 0
    known: Known = attrs.field(factory=Known)
