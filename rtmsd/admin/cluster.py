"""The admin API's side of a cluster: what its other members answer, and the streams that they have."""

from collections.abc import Sequence
from typing import Final, Protocol

from rtmsd.admin.messages import AdminError, Code, JsonObject, Request, json_list, json_reply
from rtmsd.http.messages import Reply
from rtmsd.sinks.ndjson import json_line

FIELDS: Final = frozenset({"node"})


class ClusterBackend(Protocol):
    """Implemented by a member of a cluster. It asks the others; a refusal of theirs is an AdminError here.

    A `node` is a member, or a machine: all its members.
    """

    async def status(self) -> JsonObject:
        """Members, engine, and what is wrong: `{node, members, engine, wrong, silent}`."""

    async def streams(self, *, include_ended: bool) -> JsonObject:
        """The streams of all, and who did not answer: `{streams, silent}`."""

    async def drain(self, node: str) -> JsonObject:
        """Have a node begin to hand over its streams: `{nodes, streams}`.

        Raises:
            AdminError: NO_SUCH_NODE; REFUSED_IN_STATE where nobody has room for any of them.
        """

    async def undrain(self, node: str) -> JsonObject:
        """Let it take streams again: `{nodes}`. Raises AdminError: NO_SUCH_NODE."""

    async def move(self, prefix: str, node: str | None) -> JsonObject:
        """Have a stream's owner hand it over, to this member or the best: `{rtms_stream_id, from_node, node}`.

        Raises:
            AdminError: of the prefix, as for any stream; NO_SUCH_NODE; REFUSED_IN_STATE, with the owner's reason.
        """

    async def gather(self, prefix: str) -> JsonObject:
        """Have the parts of a stream joined by the member that has its end, or find that they were:
        `{rtms_stream_id, node, directory, parts, gaps, missing_ms, elsewhere_ms, media_ms}`. `parts` are the members
        that were joined, `elsewhere_ms` has those that were not.

        Raises:
            AdminError: of the prefix, as for any stream; REFUSED_IN_STATE, with the reason; TIMED_OUT: it goes on.
        """

    async def elsewhere(self, command: str, prefix: str) -> JsonObject:
        """Return the answer to a command from the member that has a stream which is not here.

        Raises:
            AdminError: of the prefix; REFUSED_IN_STATE, with the member's name, of a command that is not passed on.
        """

    async def doctor(self) -> Sequence[JsonObject]:
        """Findings, as `AdminBackend.doctor` has them."""


class Member(Protocol):
    """What the handlers need of `rtmsd.admin.commands.AdminBackend`."""

    @property
    def cluster(self) -> ClusterBackend | None: ...


def cluster_of(backend: Member) -> ClusterBackend:
    """Raises AdminError: REFUSED_IN_STATE, where this process is a member of none."""
    if backend.cluster is None:
        raise AdminError(
            Code.REFUSED_IN_STATE, "this rtmsd is not part of a cluster: its configuration has no section [cluster]"
        )
    return backend.cluster


async def status(backend: Member, request: Request) -> Reply:
    return json_reply(await cluster_of(backend).status())


async def streams(backend: Member, request: Request) -> Reply:
    answer = dict(await cluster_of(backend).streams(include_ended=request.flag("all")))
    listed = (await json_list(answer.pop("streams"))).rstrip()  # of tens of thousands, perhaps
    return Reply(body=b'{"streams":%b,%b' % (listed, json_line(answer)[1:]))


async def drain(backend: Member, request: Request) -> Reply:
    return json_reply(await cluster_of(backend).drain(request.params["node"]))


async def undrain(backend: Member, request: Request) -> Reply:
    return json_reply(await cluster_of(backend).undrain(request.params["node"]))


async def move(backend: Member, request: Request) -> Reply:
    fields = request.json_object()
    if unknown := sorted(fields.keys() - FIELDS):
        raise AdminError(Code.BAD_REQUEST, f"unknown field {', '.join(unknown)}; there is only node")
    node = fields.get("node")
    if node is not None and not isinstance(node, str):
        raise AdminError(Code.BAD_REQUEST, "node is not a text")
    return json_reply(await cluster_of(backend).move(request.params["stream"], node))


async def gather(backend: Member, request: Request) -> Reply:
    return json_reply(await cluster_of(backend).gather(request.params["stream"]))


async def elsewhere(refusal: AdminError, backend: Member, command: str, prefix: str) -> Reply:
    """Return the answer to a command for a stream that is not here.

    Args:
        refusal: what this process alone answers.

    Raises:
        AdminError: that one, where there is no cluster; or that of the cluster.
    """
    if refusal.code is not Code.NO_SUCH_STREAM or backend.cluster is None:
        raise refusal
    return json_reply(await backend.cluster.elsewhere(command, prefix))
