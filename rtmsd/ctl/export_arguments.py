"""The arguments of the verbs that make something of a recording: export, remux, page."""

import argparse

from rtmsd.ctl.arguments import count, time_in_recording

AUDIO: tuple[str, ...] = ("auto", "embed", "link", "none")


def export(parser: argparse.ArgumentParser) -> None:
    from rtmsd.export.exporters import EXPORTERS, FORMATS  # noqa: PLC0415 - not at every start

    known = "; ".join(f"{name}: {EXPORTERS[name].summary}" for name in FORMATS)
    parser.add_argument("--format", choices=FORMATS, required=True, help=known)
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--mix", dest="tracks", action="store_false", default=False, help="everybody in one track (default)"
    )
    which.add_argument("--tracks", action="store_true", help="a track for each participant, all of the same length")
    parser.add_argument(
        "--bitrate", metavar="N", type=count, help="of Opus, in bits per second (default: 24000 for each channel)"
    )
    parser.add_argument("--rate", metavar="HZ", type=count, help="sample rate of sound (default: the highest there is)")
    _common(parser, "a file, a directory that is there, or - for standard output (text and wav)")


def remux(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=("mkv", "mp4"), default="mkv", help="default: mkv")
    _common(parser)


def page(parser: argparse.ArgumentParser) -> None:
    how = "audio in the page, beside it, or none (default: auto, the first of them that can be)"
    parser.add_argument("--audio", choices=AUDIO, default=AUDIO[0], help=how)
    _common(parser)


def _common(parser: argparse.ArgumentParser, where: str = "a file, or a directory that is there") -> None:
    when = "H:MM:SS.mmm from the start, or a date as in RFC 3339"
    parser.add_argument("--from", dest="first", metavar="TIME", type=time_in_recording, help=f"begin there: {when}")
    parser.add_argument("--to", dest="last", metavar="TIME", type=time_in_recording, help="end there")
    only = "only this participant; may be given more than once"
    parser.add_argument("--user-id", metavar="ID", action="append", default=[], help=only)
    parser.add_argument("--force", action="store_true", help="replace an earlier result")
    parser.add_argument("--output", metavar="FILE", help=f"{where} (default: export/ in the recording)")
    parser.epilog = (
        "Damaged files are named, and the rest is exported (exit status 1). When Zoom revokes a recording, export/ is "
        "deleted with it; what was written elsewhere is not."
    )
