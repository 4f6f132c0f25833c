"""The request for one export, as the command line or the daemon's configuration made it."""

from collections.abc import Iterable

import attrs

from rtmsd.export.errors import NoSuchParticipant, WrongRequest
from rtmsd.export.source import Source
from rtmsd.export.span import Moment, Span, resolve

STDOUT = "-"


@attrs.frozen(kw_only=True)
class Request:
    """Options of all exporters; each looks at those that concern it.

    Attributes:
        format: "wav", "mkv", "srt" ...; the name of the verb for one without formats.
        is_tracks: each participant by themselves, and not all mixed.
        bitrate: bits per second of what is encoded; None: the exporter's own.
        rate_hz: of samples; None: the highest there is.
        first, last: `--from` and `--to`.
        user_ids: the only participants that are wanted, as text; empty: all.
        is_forced: replace an earlier result.
        output: a file, a directory that is there, or `STDOUT`; None: `<stream>/export/`.
        audio: how a page brings its audio: "auto", "embed", "link" or "none".
    """

    format: str
    is_tracks: bool = False
    bitrate: int | None = None
    rate_hz: int | None = None
    first: Moment | None = None
    last: Moment | None = None
    user_ids: frozenset[str] = frozenset()
    is_forced: bool = False
    output: str | None = None
    audio: str = "auto"

    def span(self, source: Source) -> Span:
        """Return the part of the recording that is wanted.

        Raises:
            WrongRequest: nothing of the recording is in it.
        """
        return resolve(self.first, self.last, source.started_ms, source.end_ms)

    def wants(self, user_id: int | str | None) -> bool:
        return not self.user_ids or str(user_id) in self.user_ids

    def check_participants(self, source: Source, also: Iterable[int | str] = ()) -> None:
        """Refuse ids that nobody has.

        Raises:
            NoSuchParticipant: it names who is there.
        """
        known = {str(user_id): source.name(user_id) for user_id in (*source.speakers, *also)}
        for user_id in sorted(self.user_ids - known.keys()):
            hint = "\n".join(" ".join(f"{each}  {name}".splitlines()) for each, name in known.items())
            raise NoSuchParticipant(f"no participant has the id {user_id!r}", hint)

    def check_options(self, *, tracks: bool = False, stdout: bool = False) -> None:
        """Refuse options that the exporter cannot follow.

        Args:
            tracks, stdout: whether it can.

        Raises:
            WrongRequest: naming the option.
        """
        if self.is_tracks and not tracks:
            raise WrongRequest(f"--tracks: {self.format} has no separate tracks")
        if self.output == STDOUT and not stdout:
            raise WrongRequest(f"--output -: {self.format} cannot be written to standard output; name a file")
