"""The answer of another worker, passed on as it comes."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus

import attrs
import trio

from rtmsd.http.client import BrokenReply, LiveReply, TimedOut
from rtmsd.http.messages import Reply, Source, StreamReply


@attrs.frozen
class _Passing:
    """The `Source` of what another worker sends."""

    reply: LiveReply

    async def chunk(self) -> bytes | None:
        try:
            return await self.reply.chunk()
        except BrokenReply as error:  # the reader's answer is to be cut off as well, or it would be taken for whole
            raise trio.BrokenResourceError from error

    def trailers(self) -> Mapping[str, str]:
        return self.reply.trailers()


async def relayed(reply: LiveReply, *, timeout_s: float) -> Reply | StreamReply:
    """Return the same answer for our own client: a refusal whole, anything else as it comes.

    Args:
        timeout_s: for a refusal.

    Raises:
        BrokenReply, TimedOut: a refusal was cut off, or did not end.
    """
    if reply.status != HTTPStatus.OK:
        with reply, trio.move_on_after(timeout_s):
            return Reply(status=reply.status, content_type=reply.content_type, body=await reply.read())
        raise TimedOut(f"the refusal did not end within {timeout_s:g} s")

    @contextmanager
    def passing() -> Iterator[Source]:
        with reply:
            yield _Passing(reply)

    return StreamReply(content_type=reply.content_type, open=passing, trailer_names=reply.trailer_names)
