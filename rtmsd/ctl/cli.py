"""The command line of rtmsctl: every verb as a table entry, with its arguments.

Its code is in a module of `rtmsd.ctl.verbs`, imported when the verb is called, so that the start stays quick.
"""

import argparse
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from rtmsd import __version__
from rtmsd.command_line import HelpfulParser
from rtmsd.ctl.arguments import positive_seconds, web_url, whole_number
from rtmsd.protocol.causes import GapCause

DEFAULT_SOCKET: Final = "/run/rtmsd/admin.sock"
DEFAULT_TIMEOUT_S: Final = 10.0
VIDEO_TIMEOUT_S: Final = 15.0  # the daemon itself gives Zoom 10 s
ZOOM_TIMEOUT_S: Final = 30.0  # the daemon itself gives Zoom 25 s
MOVE_TIMEOUT_S: Final = 20.0  # the daemon itself gives the owner 15 s
GATHER_TIMEOUT_S: Final = 610.0  # the daemon itself gives another member 600 s
ZOOM_URL: Final = "https://zoom.us/"

FORMATS: Final = ("wav", "raw", "opus", "ndjson")

EPILOG: Final = (
    "exit status: 0 ok, 1 failed, 2 usage or ambiguous prefix, 3 daemon not reachable, 4 no such stream, "
    "5 not permitted, 6 timed out, 7 refused in this state; `config check` 78 for a wrong configuration"
)

_LIST_IDS: Final = "rtmsctl ps -a 2>/dev/null | cut -f1"
_LIST_RECORDINGS: Final = "rtmsctl recordings ls 2>/dev/null | cut -f1"
_LIST_ALL: Final = "rtmsctl cluster ps -a 2>/dev/null | cut -f1"
_LIST_NODES: Final = "rtmsctl cluster status 2>/dev/null | sed -n '2,/^$/p' | cut -f1"
WITH_FILES: Final = frozenset({"recordings"})

COMPLETE_FILE: Final = {"bash": "_shtab_compgen_files", "zsh": "_files"}  # shtab.FILE


def _words(words: Sequence[str]) -> str:
    return f"echo {' '.join(words)}"


def default_socket(environ: Mapping[str, str] = os.environ) -> str:
    """Return the socket that holds without --socket."""
    return environ.get("RTMSD_SOCKET") or DEFAULT_SOCKET


def _note(parser: argparse.ArgumentParser, *lines: str) -> None:
    """End the help with lines that are not wrapped, so that they can be copied."""
    parser.epilog = "\n".join(lines)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter


def _complete(argument: argparse.Action, name: str, command: str) -> None:
    """Have shells complete an argument with the words that a command prints, and the names of files where bash can.

    It is what `shtab.cmd` would make, without importing shtab; argparse itself declares no such attribute.
    """
    function = f"_rtmsctl_{name}"
    files = ' ; compgen -f -- "$1"' if name in WITH_FILES else ""
    vars(argument)["complete"] = {
        "bash": function,
        "zsh": f"($({command}))",
        "fish": f"({command})",
        "preamble": {"bash": f'{function}() {{ compgen -W "$({command})" -- "$1"{files}; }}'},
    }


def _nothing(parser: argparse.ArgumentParser) -> None:
    """The verb takes no arguments of its own."""


def _stream(parser: argparse.ArgumentParser, nargs: str | None = None) -> None:
    help_text = "id of a stream, or the beginning of one"
    _complete(parser.add_argument("stream", metavar="STREAM", nargs=nargs, help=help_text), "streams", _LIST_IDS)


def _any_stream(parser: argparse.ArgumentParser) -> None:
    _stream(parser, "?")


def _ps(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-a", "--all", action="store_true", help="ended streams too")


def _top(parser: argparse.ArgumentParser) -> None:
    help_text = "seconds between updates (default: 1)"
    parser.add_argument("--interval", metavar="S", type=positive_seconds, default=1.0, help=help_text)


def _logs(parser: argparse.ArgumentParser) -> None:
    _any_stream(parser)
    parser.add_argument("-f", "--follow", action="store_true", help="continue with new events, until the stream ends")
    parser.add_argument("-n", "--lines", metavar="N", type=whole_number, help="begin with the last N lines")
    parser.epilog = "The daemon's own log is in the journal: journalctl -u rtmsd RTMS_STREAM_ID=..."


def _tap(parser: argparse.ArgumentParser) -> None:
    from rtmsd.protocol.media_types import NAMES  # noqa: PLC0415 (6 ms, which no other verb needs)

    _stream(parser)
    names = (*NAMES.values(), "events")
    media = f"of {','.join(names)} (default: audio)"
    _complete(parser.add_argument("--media", metavar="LIST", default="audio", help=media), "media", _words(names))
    form = "default: wav for audio alone, else ndjson; opus: in Ogg, where Zoom sends Opus, which is not decoded"
    parser.add_argument("--format", choices=FORMATS, help=form)
    parser.add_argument("--user-id", metavar="ID", help="only this participant; 0 is the mix")
    parser.epilog = "A slow reader loses its own frames, never the recording's: ndjson counts them."


def _video(parser: argparse.ArgumentParser) -> None:
    _stream(parser)
    choice = parser.add_mutually_exclusive_group()
    user = "ask Zoom for this participant's video, until another choice is made"
    choice.add_argument("--user", metavar="ID", type=whole_number, help=user)
    choice.add_argument("--off", action="store_true", help="ask for nobody's")
    choice.add_argument("--auto", action="store_true", help="leave the choice to media.video.follow again")
    _note(
        parser,
        "Without an option: who is seen, whose camera is on, and who chose. Only in streams that were started with",
        'media.video.streams = "individual". A choice holds over reconnections and restarts of the daemon.',
    )


def _doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", metavar="URL", type=web_url, help="the public address of the webhook, as Zoom has it")
    where = parser.add_mutually_exclusive_group()
    zoom = f"a server of Zoom's (default: {ZOOM_URL})"
    where.add_argument("--zoom", metavar="URL", type=web_url, default=ZOOM_URL, help=zoom)
    alone = "do not contact Zoom"
    where.add_argument("--offline", dest="zoom", action="store_const", const=None, help=alone)


def _explain(parser: argparse.ArgumentParser) -> None:
    help_text = 'a number or a name, with its kind if you know it: 18, "stop 18", "status 8"'
    words = _words(("stop", "status", "paused", "recovering", "degraded", *GapCause))
    _complete(parser.add_argument("words", metavar="CODE", nargs="+", help=help_text), "codes", words)


def _shutdown(parser: argparse.ArgumentParser) -> None:
    help_text = "close live streams for good; else they resume at the next start"
    parser.add_argument("--end-streams", action="store_true", help=help_text)
    _note(
        parser,
        "systemd starts the service again. To keep it down:",
        "systemctl stop rtmsd-webhook.socket rtmsd-admin.socket rtmsd.service",
    )


def _file(parser: argparse.ArgumentParser) -> None:
    file = parser.add_argument("file", metavar="FILE", nargs="?", help="default: the running daemon's file")
    vars(file)["complete"] = COMPLETE_FILE


def _check(parser: argparse.ArgumentParser) -> None:
    _file(parser)
    here = "a directory, port or socket that this user cannot use here is an error, not a warning"
    parser.add_argument("--here", action="store_true", help=here)
    parser.epilog = "exit status: 78 for a wrong configuration, else as for every verb"


def _diff(parser: argparse.ArgumentParser) -> None:
    _file(parser)
    parser.epilog = "Secrets are not compared: `rtmsctl reload` names those that changed."


def _recordings(parser: argparse.ArgumentParser) -> None:
    help_text = "id or its beginning, or a directory, which needs no daemon (default: all)"
    recordings = parser.add_argument("recordings", metavar="RECORDING", nargs="*", help=help_text)
    _complete(recordings, "recordings", _LIST_RECORDINGS)


def _repair(parser: argparse.ArgumentParser) -> None:
    _recordings(parser)
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")


def _recording(parser: argparse.ArgumentParser) -> None:
    recording = parser.add_argument("recording", metavar="RECORDING", help="id of a recording, or the beginning of one")
    _complete(recording, "recording_ids", _LIST_RECORDINGS)
    parser.add_argument("--yes", action="store_true", help="do not ask")


def _gather(parser: argparse.ArgumentParser) -> None:
    help_text = "id of a stream, or the beginning of one"
    _complete(parser.add_argument("stream", metavar="STREAM", help=help_text), "gatherable", _LIST_ALL)
    sources = "directories of recordings with the parts, or of one: copies that you made, at least one for each node"
    parser.add_argument("--from", dest="sources", metavar="DIR", nargs="+", action="extend", help=sources)
    to = "directory of recordings that gets the joined one; a part of --from that has its place there is replaced"
    parser.add_argument("--to", metavar="DIR", help=to)
    help_text = "join also parts none of which knows the end of the stream"
    parser.add_argument("--without-end", action="store_true", help=help_text)
    parser.epilog = (
        "Without --from the cluster does it: the member that has the end of the stream asks the others for theirs, "
        "and the joined recording takes the place of its own. With --from and --to it needs no daemon. Parts stay as "
        "they are until the joined recording was verified."
    )


def _drain_node(parser: argparse.ArgumentParser) -> None:
    _node(parser)
    parser.add_argument("--wait", action="store_true", help="until all is handed over, or cannot be")


def _node(parser: argparse.ArgumentParser, nargs: str | None = None) -> None:
    help_text = "a member of the cluster, or a machine with several"
    _complete(parser.add_argument("node", metavar="NODE", nargs=nargs, help=help_text), "nodes", _LIST_NODES)


def _move(parser: argparse.ArgumentParser) -> None:
    help_text = "id of a stream, or the beginning of one"
    stream = parser.add_argument("stream", metavar="STREAM", help=help_text)
    _complete(stream, "cluster_streams", "rtmsctl cluster ps 2>/dev/null | cut -f1")
    _node(parser, "?")


def _exporting(which: str, parser: argparse.ArgumentParser) -> None:
    from rtmsd.ctl import export_arguments  # noqa: PLC0415 - not at every start

    help_text = "id or its beginning, or a directory, which needs no daemon"
    _complete(parser.add_argument("recording", metavar="RECORDING", help=help_text), "recordings", _LIST_RECORDINGS)
    getattr(export_arguments, which)(parser)


def _deliveries(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state", choices=("waiting", "running", "done", "dead"), help="only those in it")


def _delivery(parser: argparse.ArgumentParser) -> None:
    delivery = parser.add_argument("delivery", metavar="ID", help="number of a delivery")
    _complete(delivery, "deliveries", "rtmsctl deliveries ls 2>/dev/null | cut -f1")


def _webhook_test(parser: argparse.ArgumentParser) -> None:
    url = "the address that Zoom has (default: the daemon's own)"
    parser.add_argument("url", metavar="URL", nargs="?", type=web_url, help=url)
    parser.add_argument("--app", metavar="NAME", help="the configured app to sign for; needed when there are several")
    parser.add_argument("--file", metavar="FILE", help="the configuration file (default: the running daemon's)")
    parser.epilog = "It reads the webhook secret, and so needs a user who may read it: root, as a rule."


def _session(parser: argparse.ArgumentParser) -> None:
    from rtmsd.protocol.products import PRODUCTS  # noqa: PLC0415 (8 ms, which no other verb needs)

    parser.add_argument("id", metavar="ID", help="session_id (Video SDK), id of a meeting or webinar, or call_id")
    product = "default: session (Video SDK)"
    parser.add_argument("--product", choices=PRODUCTS, default="session", help=product)
    parser.add_argument("--app", metavar="NAME", help="the configured app to act for; needed when there are several")
    parser.add_argument("--participant", metavar="USER_ID", help="the participant on whose behalf it is done")


def _completion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell to write for")
    _note(
        parser,
        "bash: source <(rtmsctl completion bash)",
        'zsh, after compinit: eval "$(rtmsctl completion zsh)"',
        "fish: rtmsctl completion fish | source",
    )


class Verb(NamedTuple):
    """A verb. A name of two words belongs to a group.

    Attributes:
        run: "module:function" of `rtmsd.ctl.verbs`; the function is a `rtmsd.ctl.main.Run`.
        summary: one line, for the list of verbs.
        arguments: adds its arguments to its parser.
        timeout_s: how long it waits for an answer unless --timeout says otherwise.
    """

    name: str
    run: str
    summary: str
    arguments: Callable[[argparse.ArgumentParser], None] = _nothing
    timeout_s: float = DEFAULT_TIMEOUT_S


VERBS: Final = (
    Verb("status", "status:status", "state of the daemon"),
    Verb("ps", "streams:ps", "list streams", _ps),
    Verb("inspect", "inspect:inspect", "everything known of one stream", _stream),
    Verb("top", "top:top", "status and streams, live", _top),
    Verb("watch", "live:watch", "events as they happen", _any_stream),
    Verb("logs", "live:logs", "past events of one stream, or of all", _logs),
    Verb("tap", "live:tap", "live media to standard output", _tap),
    Verb("stop", "streams:stop", "ask Zoom to end a stream", _stream),
    Verb("reconnect", "streams:reconnect", "give a stream fresh connections", _stream),
    Verb("video", "video:video", "whose video is asked for, or choose it", _video, VIDEO_TIMEOUT_S),
    Verb("doctor", "doctor:doctor", "why does nothing arrive?", _doctor),
    Verb("explain", "explain:explain", "meaning of a stop reason, status code or state, and what to do", _explain),
    Verb("drain", "control:drain", "refuse new streams"),
    Verb("undrain", "control:undrain", "accept new streams again"),
    Verb("reload", "control:reload", "apply the changed configuration file, and say what changed"),
    Verb("shutdown", "control:shutdown", "stop the daemon", _shutdown),
    Verb("config check", "config:check", "check a configuration file, and name every mistake in it", _check),
    Verb("config show", "config:show", "the configuration in use, secrets masked"),
    Verb("config diff", "config:diff", "differences between the file and the configuration in use", _diff),
    Verb("recordings ls", "recordings:ls", "list recordings"),
    Verb("recordings verify", "integrity:verify", "read recordings back, and name every problem", _recordings),
    Verb("recordings repair", "integrity:repair", "repair recordings as far as possible", _repair),
    Verb(
        "recordings export",
        "export:export",
        "make one file to send: sound, text, pictures, a film",
        partial(_exporting, "export"),
    ),
    Verb("recordings page", "export:page", "page.html for a browser: sound, text, gaps", partial(_exporting, "page")),
    Verb("recordings remux", "export:remux", "make films of video and shared screens", partial(_exporting, "remux")),
    Verb(
        "recordings gather",
        "gather:run",
        "join what the nodes of a cluster recorded of one stream",
        _gather,
        GATHER_TIMEOUT_S,
    ),
    Verb("recordings rm", "recordings:remove", "delete a recording", _recording),
    Verb("deliveries ls", "deliveries:ls", "list what was given to sinks, or waits for it", _deliveries),
    Verb("deliveries show", "deliveries:show", "one delivery, with what its program said", _delivery),
    Verb("deliveries replay", "deliveries:replay", "run a dead delivery again", _delivery),
    Verb("webhook test", "webhook:test", "post a signed and a forged URL validation to an endpoint", _webhook_test),
    Verb("session start", "session:start", "start the stream of a running session", _session, ZOOM_TIMEOUT_S),
    Verb("session stop", "session:stop", "stop it", _session, ZOOM_TIMEOUT_S),
    Verb("session pause", "session:pause", "pause it", _session, ZOOM_TIMEOUT_S),
    Verb("session resume", "session:resume", "resume a paused one", _session, ZOOM_TIMEOUT_S),
    Verb("cluster status", "cluster:status", "members, engine, and what is wrong; fails if anything is"),
    Verb("cluster ps", "cluster:ps", "list the streams of all members", _ps),
    Verb("cluster drain", "cluster:drain", "have a node hand over its streams", _drain_node),
    Verb("cluster undrain", "cluster:undrain", "let a node take streams again", _node),
    Verb("cluster move", "cluster:move", "hand one stream over to another member", _move, MOVE_TIMEOUT_S),
    Verb("metrics", "status:metrics", "the metrics, as Prometheus reads them"),
    Verb("version", "status:version", "the version of rtmsctl"),
    Verb("completion", "completion:completion", "completion for bash, zsh or fish", _completion),
)
"""In the order of `--help`."""

GROUPS: Final = {
    "config": "check, show and compare the configuration",
    "recordings": "list, check, repair, export, join and delete recordings",
    "deliveries": "list, show and replay what was given to sinks",
    "cluster": "show the cluster, and move streams between its members",
    "webhook": "test the webhook endpoint",
    "session": "start, stop, pause and resume sessions through Zoom's REST API",
}


def build_parser(words: Collection[str] | None = None) -> argparse.ArgumentParser:
    """Return the parser of all verbs; what it parses names the verb's function as `run`.

    Args:
        words: what it will parse: verbs that are not among them get no arguments, as some need imports; None: all do.
    """
    parser = HelpfulParser(
        prog="rtmsctl", description="Ask and control the rtmsd daemon.", epilog=EPILOG, allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"rtmsctl {__version__}")
    _add_globals(parser, DEFAULT_TIMEOUT_S, {"socket": default_socket(), "timeout": None, "json": False})
    add_to = {"": parser.add_subparsers(metavar="VERB", required=True, title="verbs").add_parser}
    for verb in VERBS:
        group, _, name = verb.name.rpartition(" ")
        if group not in add_to:
            grouped = add_to[""](group, help=GROUPS[group], description=GROUPS[group], allow_abbrev=False)
            add_to[group] = grouped.add_subparsers(metavar="VERB", required=True, title="verbs").add_parser
        verb_parser = add_to[group](name, help=verb.summary, description=verb.summary, allow_abbrev=False)
        # Global options are accepted after the verb, too; without them those before it hold.
        _add_globals(verb_parser, verb.timeout_s, {})
        if words is None or name in words:
            verb.arguments(verb_parser)
        verb_parser.set_defaults(run=verb.run, usual_timeout_s=verb.timeout_s)
    return parser


def _add_globals(parser: argparse.ArgumentParser, timeout_s: float, defaults: Mapping[str, Any]) -> None:
    """Add the options of every verb. One without a default is not set when it is not given."""

    def default(name: str) -> Any:
        return defaults.get(name, argparse.SUPPRESS)

    socket = f"the admin socket (default: $RTMSD_SOCKET, else {DEFAULT_SOCKET})"
    parser.add_argument("--socket", metavar="PATH", default=default("socket"), help=socket)
    timeout = f"longest wait for an answer, in seconds (default: {timeout_s:g})"
    parser.add_argument("--timeout", metavar="S", type=positive_seconds, default=default("timeout"), help=timeout)
    parser.add_argument("--json", action="store_true", default=default("json"), help="JSON instead of tables")
