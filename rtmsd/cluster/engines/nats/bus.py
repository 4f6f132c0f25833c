"""Questions from member to member, and signs of life: `Bus` and `Beats`. Nothing of it is stored."""

from typing import Final

import structlog
import trio

from rtmsd.cluster.codec import BadRecord, decode, encode
from rtmsd.cluster.engine import MAX_MESSAGE_BYTES, Away, Ear, EngineError, Handler, Nobody, Refused, TooLarge
from rtmsd.cluster.engines.nats.client import Message
from rtmsd.cluster.engines.nats.connection import Connection, Mailbox
from rtmsd.cluster.engines.nats.layout import Layout, Reader
from rtmsd.cluster.engines.nats.link import NoResponders
from rtmsd.cluster.records import Beat
from rtmsd.masking import sanitize_remote_text

log = structlog.stdlib.get_logger()

AT_ONCE: Final = 256
"""Questions that are worked on at a time; more wait."""
WORK_S: Final = 60.0
"""No question is worked on for longer: whoever asked has given up, and others wait."""
_REFUSED: Final = "Rtms-Refused"
_NOBODY: Final = {"Status": "503"}  # as the servers say it


class NatsBus:
    """See `cluster.engine.Bus`."""

    def __init__(self, connection: Connection, layout: Layout, reader: Reader, *, absent_s: float) -> None:
        self._connection = connection
        self._layout = layout
        self._reader = reader
        self._absent_s = absent_s
        self._handlers: dict[str, Handler] = {}

    def serve(self, what: str, handler: Handler) -> None:
        self._handlers[what] = handler

    async def ask(self, node: str, what: str, data: bytes, *, timeout_s: float) -> bytes:
        if len(data) > MAX_MESSAGE_BYTES:
            raise TooLarge(f"question {what}", len(data))
        deadline = trio.current_time() + timeout_s
        try:
            answer = await self._ask(node, what, data, deadline)
        except NoResponders:
            await trio.sleep(min(self._absent_s, max(deadline - trio.current_time(), 0)))
            try:
                answer = await self._ask(node, what, data, deadline)
            except NoResponders:
                raise Nobody(f"no process called {node} takes questions of {what}") from None
        if _REFUSED in answer.headers:
            raise Refused(sanitize_remote_text(answer.data.decode(errors="replace")))
        return answer.data

    async def _ask(self, node: str, what: str, data: bytes, deadline: float) -> Message:
        left_s = max(deadline - trio.current_time(), 0.0)
        return await self._connection.request(self._layout.question(node, what), data, timeout_s=left_s)

    async def run(self, questions: Mailbox) -> None:
        """Answer what comes in, until cancelled."""
        at_once = trio.Semaphore(AT_ONCE)
        async with trio.open_nursery() as nursery:
            while True:
                await at_once.acquire()
                question = await questions.take()
                if question is None or not question.reply:
                    if question is not None:
                        self._reader.refuse("question", "it has no address for the answer")
                    at_once.release()
                else:
                    nursery.start_soon(self._answer, question, at_once)

    async def dismiss(self, questions: Mailbox) -> None:
        """Tell those who have just asked, and will not be heard, that nobody is here any more."""
        for question in questions.rest():
            if question.reply:
                await self._connection.publish(question.reply, b"", _NOBODY)

    async def _answer(self, question: Message, at_once: trio.Semaphore) -> None:
        try:
            what = question.subject.rpartition(".")[2]
            handler = self._handlers.get(what)
            if handler is None:
                data, headers = b"", _NOBODY
            elif len(question.data) > MAX_MESSAGE_BYTES:
                self._reader.refuse("question", "it is too large")
                data, headers = b"too large", {_REFUSED: "1"}
            else:
                data, headers = await _work(handler, what, question.data)
            await self._connection.publish(question.reply, data, headers)
        except Away as exc:  # whoever asked asks again, or has given up
            log.info("answer not sent", reason=str(exc))
        finally:
            at_once.release()


async def _work(handler: Handler, what: str, data: bytes) -> tuple[bytes, dict[str, str]]:
    answer: bytes | None = None
    try:
        with trio.move_on_after(WORK_S):
            answer = await handler(data)
    except EngineError as exc:
        return str(exc).encode(errors="replace"), {_REFUSED: "1"}
    except Exception:
        log.exception("question crashed", what=what)
        return b"internal error", {_REFUSED: "1"}
    if answer is None:
        log.warning("question given up", what=what)
        return b"it took too long", {_REFUSED: "1"}
    if len(answer) > MAX_MESSAGE_BYTES:
        return b"the answer is too large", {_REFUSED: "1"}
    return answer, {}


class NatsBeats:
    """See `cluster.engine.Beats`."""

    def __init__(self, connection: Connection, layout: Layout, reader: Reader, heard: Mailbox) -> None:
        self._connection = connection
        self._layout = layout
        self._reader = reader
        self._heard = heard

    async def beat(self, beat: Beat) -> None:
        await self._connection.publish(self._layout.beat(beat.node), encode(beat))

    async def hear(self) -> Beat | Ear:
        while True:
            message = await self._heard.take()
            if message is None:
                return Ear.DEAF
            try:
                beat = decode(Beat, message.data)
            except BadRecord as exc:
                self._reader.refuse("beat", str(exc))
            else:
                if message.subject == self._layout.beat(beat.node):
                    return beat
                self._reader.refuse("beat", "of another member")
