"""The answer of another worker, passed on as it comes."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import attrs
import trio

from rtmsd.http.client import BrokenReply, LiveReply
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


async def relayed(reply: LiveReply) -> Reply | StreamReply:
    """Return the same answer for our own client: a refusal whole, anything else as it comes.

    Raises:
        BrokenReply: a refusal was cut off.
    """
    if reply.status != 200:
        with reply:
            return Reply(status=reply.status, content_type=reply.content_type, body=await reply.read())

    @contextmanager
    def passing() -> Iterator[Source]:
        with reply:
            yield _Passing(reply)

    return StreamReply(content_type=reply.content_type, open=passing, trailer_names=reply.trailer_names)
