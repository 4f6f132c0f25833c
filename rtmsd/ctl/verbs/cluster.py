"""The cluster that the daemon is a member of: status, ps, drain, undrain, move."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from rtmsd.ctl.context import Context
from rtmsd.ctl.errors import CtlError, Exit
from rtmsd.ctl.formatting import UNKNOWN, duration, printable, size
from rtmsd.ctl.output import Column, Item, Style, key
from rtmsd.ctl.verbs.status import summed_up
from rtmsd.ctl.verbs.streams import count, lasted, lasted_in_s, shortened
from rtmsd.terminal import complain

POLL_S: Final = 0.5
GONE: Final = "gone"


def status(context: Context) -> Exit:
    """Show members, engine, and what is wrong; FAILED if anything is."""
    answer = context.client.get("/v1/cluster")
    if context.out.as_json:
        context.out.json(answer)
    else:
        context.out.rows(answer["members"], MEMBER_COLUMNS)
        context.out.section("engine")
        context.out.record(answer["engine"], ENGINE_COLUMNS)
        for wrong in answer["wrong"]:
            context.out.line(context.out.styled(printable(_in_words(wrong)), Style.BAD))
    return Exit.FAILED if answer["wrong"] else Exit.OK


def _in_words(wrong: Item) -> str:
    whose = f"{wrong['node']}: " if wrong.get("node") else ""
    return f"wrong: {whose}{wrong['detail']} ({wrong['code']})"


def ps(context: Context) -> None:
    """List the streams of all members, and say who did not answer."""
    answer = context.client.get("/v1/cluster/streams", **({"all": "1"} if context.args.all else {}))
    if context.out.as_json:
        context.out.json(answer)
    else:
        streams = answer["streams"]
        empty = "no streams" if context.args.all else "no live streams (-a shows ended ones too)"
        context.out.rows(streams, _ps_columns(streams), empty=empty)
    for node, why in answer["silent"].items():
        complain(f"rtmsctl: without node {printable(node)}: {printable(why)}")


def drain(context: Context) -> Exit:
    """Have a node hand over its streams; with --wait, until it has none, or cannot hand over the rest."""
    answer = context.client.post(_node_path(context, "drain"))
    if not context.args.wait:
        number = answer["streams"]
        hands, takes = ("hand", "take") if len(answer["nodes"]) > 1 else ("hands", "takes")
        streams = f"{number} stream{'s' * (number != 1)}"
        context.out.said(answer, f"{_named(answer)} {hands} over {streams}, and {takes} no more")
        return Exit.OK
    drains = _wait_drained(context, answer["nodes"])
    if context.out.as_json:
        context.out.json(drains)
    for node, report in drains.items():
        if not context.out.as_json:
            context.out.line(f"{printable(node)}: {report['moved']} handed over, {report['stayed']} kept")
        if report["trouble"]:
            raise CtlError(Exit.FAILED, f"{printable(node)}: {printable(report['trouble'])}")
        for stream, why in report["why"].items():
            complain(f"rtmsctl: {printable(stream)} was not handed over: {printable(why)}")
    return Exit.REFUSED if any(report["stayed"] for report in drains.values()) else Exit.OK


def _wait_drained(context: Context, nodes: Sequence[str]) -> dict[str, Item]:
    """Return what became of the streams of each, once that is known of all."""
    while True:
        answer = context.client.get("/v1/cluster")
        members = {member["node"]: member for member in answer["members"]}
        for node in nodes:
            if members.get(node, {}).get("state", GONE) == GONE:
                raise CtlError(Exit.FAILED, f"{printable(node)} is gone, before all of its streams were handed over")
        drains = {node: members[node]["drain"] for node in nodes}
        for node in (node for node, report in drains.items() if report is None and node not in answer["silent"]):
            match members[node]["state"]:
                case "draining":  # a worker that was started again has new streams refused, and hands over none
                    context.client.post(f"/v1/cluster/nodes/{_quoted(node)}/drain")
                case "up":
                    why = "takes streams again: it was started again, or the order was taken back"
                    raise CtlError(Exit.FAILED, f"{printable(node)} {why}")
        if all(report and not report["running"] for report in drains.values()):
            return drains
        time.sleep(POLL_S)


def undrain(context: Context) -> None:
    """Let a node take streams again."""
    answer = context.client.post(_node_path(context, "undrain"))
    context.out.said(answer, f"{_named(answer)} take{'s' * (len(answer['nodes']) == 1)} streams again")


def move(context: Context) -> None:
    """Have a stream handed over to another member."""
    stream, node = context.args.stream, context.args.node
    if not stream:
        raise CtlError(Exit.USAGE, "a stream's name is empty", "`rtmsctl cluster ps` lists the streams.")
    answer = context.client.post(f"/v1/cluster/streams/{_quoted(stream)}/move", {} if node is None else {"node": node})
    context.out.said(answer, f"{answer['rtms_stream_id']} is on {answer['node']} now, and was on {answer['from_node']}")


def _node_path(context: Context, what: str) -> str:
    if not context.args.node:
        raise CtlError(Exit.USAGE, "a node's name is empty", "`rtmsctl cluster status` lists the nodes.")
    return f"/v1/cluster/nodes/{_quoted(context.args.node)}/{what}"


def _quoted(name: str) -> str:
    return quote(name, safe="", errors="surrogateescape")


def _named(answer: Item) -> str:
    return ", ".join(answer["nodes"])


# Cells


def streams_of(member: Item) -> str:
    """Return the streams of a member, and how many it takes: "12 of 1000"."""
    return UNKNOWN if member.get("streams") is None else f"{member['streams']} of {member['capacity']}"


def load(member: Item) -> str:
    """Return the share of its capacity that a member uses."""
    return f"{member['streams'] / member['capacity']:.0%}" if member.get("capacity") else UNKNOWN


def engine_state(engine: Item) -> str:
    """Return one word, and the reason of a bad one."""
    return "up" if engine.get("trouble") is None else f"away: {engine['trouble']}"


def server(engine: Item) -> str:
    """Return the server that the member which answers is connected to."""
    found: Mapping[str, Any] = engine.get("server") or {}
    return f"{found['address']}, version {found['version']}" if found else UNKNOWN


def behind(engine: Item) -> str:
    """Return the replicas that are not up to date."""

    def lagging() -> Iterator[str]:
        for replica in engine.get("behind") or ():
            how = "offline" if replica.get("offline") else f"{replica['lag']} behind"
            yield f"{replica['server']} of {replica['stream']} ({how})"

    return ", ".join(lagging()) or ("none" if engine.get("servers") else UNKNOWN)


def _ps_columns(streams: Sequence[Item]) -> tuple[Column, ...]:
    shown = shortened([stream["rtms_stream_id"] for stream in streams])
    return (
        Column("STREAM", lambda stream: shown[stream["rtms_stream_id"]], key("rtms_stream_id")),
        Column("NODE", key("node")),
        Column("EPOCH", key("epoch"), right=True, rank=3),
        Column("STATE", key("state")),
        Column("AGE", lasted, lasted_in_s, right=True),
        Column("GAPS", lambda stream: count(stream, "gaps"), right=True, rank=2),
        Column("APP", key("app"), rank=4),
        Column("FLAGS", lambda stream: " ".join(stream.get("flags") or ()) or UNKNOWN),
        Column("WHY", key("why"), rank=1),
    )


MEMBER_COLUMNS: Final = (
    Column("NODE", key("node")),
    Column("STATE", key("state")),
    Column("STREAMS", streams_of, right=True),
    Column("LOAD", load, right=True, rank=2),
    Column("VERSION", key("release"), rank=3),
    Column("ZONE", key("zone"), rank=4),
    Column("LAST BEAT", lambda member: duration(member.get("last_beat_s")), key("last_beat_s"), right=True, rank=1),
)

ENGINE_COLUMNS: Final = (
    Column("state", engine_state),
    Column("connected to", server),
    Column("servers", lambda engine: ", ".join(engine.get("servers") or ()) or UNKNOWN),
    Column("leader of", lambda engine: summed_up(engine.get("leaders"))),
    Column("behind", behind),
    Column("kept", lambda engine: size(engine.get("bytes")), key("bytes")),
)
