"""The parts of a stream that nodes of a cluster recorded, joined to one recording: gather."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

from rtmsd.ctl.context import Context
from rtmsd.ctl.earlier_streams import matching, only
from rtmsd.ctl.errors import CtlError, Exit
from rtmsd.ctl.formatting import milliseconds, printable
from rtmsd.ctl.verbs.integrity import amounts
from rtmsd.errors import RtmsdError
from rtmsd.nearest import did_you_mean
from rtmsd.recording.disk.paths import dates
from rtmsd.recording.gather.gather import Gathered, gather
from rtmsd.recording.manifest.schema import MANIFEST, read_manifest
from rtmsd.recording.verify.verify import Missing, missing


def run(context: Context) -> None:
    """Join the parts of one stream, verify the result, and say what it lacks: of directories, or by the cluster."""
    args = context.args
    if not args.sources and (args.to or args.without_end):
        raise CtlError(Exit.USAGE, f"{'--to' if args.to else '--without-end'} is for copies: name them with --from")
    if args.sources and not args.to:
        raise CtlError(Exit.USAGE, "--from needs --to, the directory that gets the joined recording")
    (_join_copies if args.sources else _ask_cluster)(context)


def _ask_cluster(context: Context) -> None:
    if not context.args.stream:
        raise CtlError(Exit.USAGE, "a stream's name is empty", "`rtmsctl cluster ps -a` lists the streams.")
    path = f"/v1/cluster/streams/{quote(context.args.stream, safe='', errors='surrogateescape')}/gather"
    try:
        answer = context.client.post(path)
    except CtlError as error:
        if error.exit_code is not Exit.REFUSED:
            raise
        raise CtlError(
            Exit.REFUSED, str(error), "Copies of the recordings of its nodes are joined by --from."
        ) from error
    media_ms = answer.get("media_ms", {"all media": answer["missing_ms"]})  # a member of an older version joined it
    lacks = Missing(answer["gaps"], answer["missing_ms"], answer["elsewhere_ms"], media_ms)
    summary = _summary(answer["directory"], len(answer["parts"]), lacks)
    context.out.said(answer, f"node {answer['node']}: {summary}")


def _join_copies(context: Context) -> None:
    args = context.args
    below, to = [Path(each) for each in args.sources], Path(args.to)
    for directory in below:
        if not directory.is_dir():
            raise CtlError(Exit.FAILED, f"{directory}: there is no such directory")
    try:
        gathered = gather(_id_of(args.stream, below), below, to, without_end=args.without_end)
    except RtmsdError as error:
        raise CtlError(Exit.FAILED, str(error)) from error
    if context.out.as_json:
        context.out.json(_described(gathered))
    else:
        context.out.line(_summary(str(gathered.directory), len(gathered.parts), missing(gathered.directory)))


def _id_of(name: str, below: list[Path]) -> str:
    """Return the id of the stream that is named, by it or its beginning."""
    found = {manifest.rtms_stream_id for directory in _recordings(below) if (manifest := read_manifest(directory))}
    named = matching([{"rtms_stream_id": each} for each in sorted(found)], name) if name else []
    if not named:
        where = ", ".join(map(str, below))
        raise CtlError(Exit.NO_SUCH_STREAM, f"no part of {name!r} is in {where}{did_you_mean(name, sorted(found))}")
    stream_id: str = only(named, name)["rtms_stream_id"]
    return stream_id


def _recordings(below: list[Path]) -> list[Path]:
    found = []
    for root in below:
        found += [root] if (root / MANIFEST).is_file() else [each for day in dates(root) for each in day.iterdir()]
    return found


def _described(gathered: Gathered) -> dict[str, Any]:
    return {
        "directory": str(gathered.directory),
        "parts": [str(part) for part in gathered.parts],
        **missing(gathered.directory)._asdict(),
    }


def _summary(directory: str, number: int, lacks: Missing) -> str:
    parts = f"{number} part{'s' * (number != 1)}"
    gaps = f"missing in all of them: {amounts(lacks.media_ms)}" if lacks.gaps else "nothing is missing"
    others = [f"{milliseconds(ms)} only on node {printable(node)}" for node, ms in lacks.elsewhere_ms.items()]
    return ", ".join([f"{printable(directory)}: joined from {parts} and verified", gaps, *others])
