"""The way from a request line to its command: path, query, and the one stream that the beginning of an id names."""

from collections.abc import Iterable
from typing import Final
from urllib.parse import parse_qsl, unquote_to_bytes

from rtmsd.admin.commands import COMMANDS, Command
from rtmsd.admin.messages import AdminError, Code
from rtmsd.nearest import did_you_mean

MAX_CANDIDATES: Final = 20


def find(method: str, target: str) -> tuple[Command, dict[str, str], dict[str, str]]:
    """Match a request line with the table.

    Args:
        target: path and query as sent, percent-encoded.

    Returns:
        The command, the path's parameters and the query's; `rtms_stream_id` is as the caller wrote it.

    Raises:
        AdminError: NO_SUCH_PATH, METHOD_NOT_ALLOWED (with an `allow` header) or BAD_REQUEST.
    """
    path, _, query = target.partition("?")
    segments = [_decoded(segment) for segment in path.split("/")[1:]]
    matches = [(command, params) for command in COMMANDS if (params := command.params(segments)) is not None]
    if not path.startswith("/") or not matches:
        raise AdminError(Code.NO_SUCH_PATH, f"no such path {path}: see `GET /v1/commands`")
    for command, params in matches:
        if command.method == method:
            return command, params, _query(query, command.query)
    allowed = ", ".join(command.method for command, _ in matches)
    raise AdminError(Code.METHOD_NOT_ALLOWED, f"{path} allows {allowed}", headers={"allow": allowed})


def resolve(prefix: str, ids: Iterable[str]) -> str:
    """Return the one id that is, or begins with, `prefix`.

    Raises:
        AdminError: NO_SUCH_STREAM, or AMBIGUOUS with the first of the `candidates`.
    """
    known = set(ids)
    if prefix in known:
        return prefix
    candidates = sorted(candidate for candidate in known if prefix and candidate.startswith(prefix))
    match candidates:
        case []:
            meant = did_you_mean(prefix, known)
            raise AdminError(Code.NO_SUCH_STREAM, f"no stream has the id {prefix!r} or one that begins with it{meant}")
        case [only]:
            return only
    raise AdminError(
        Code.AMBIGUOUS,
        f"{len(candidates)} streams begin with {prefix!r}: write more of the id",
        candidates=candidates[:MAX_CANDIDATES],
    )


def _decoded(segment: str) -> str:
    try:
        return unquote_to_bytes(segment).decode()
    except UnicodeDecodeError:
        raise AdminError(Code.BAD_REQUEST, f"{segment!r} in the path is not percent-encoded UTF-8") from None


def _query(text: str, known: frozenset[str]) -> dict[str, str]:
    if not text:
        return {}
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True, errors="strict")
    except ValueError as exc:
        raise AdminError(Code.BAD_REQUEST, f"the query cannot be read: {exc}") from exc
    query = dict(pairs)
    if unknown := sorted(query.keys() - known):
        takes = f"takes {', '.join(sorted(known))}" if known else "takes no parameters"
        raise AdminError(Code.BAD_REQUEST, f"unknown parameter {', '.join(unknown)}: this request {takes}")
    if len(query) < len(pairs):
        raise AdminError(Code.BAD_REQUEST, "a query parameter is given twice")
    return query
