"""Continuous output: watch, logs, tap. It ends with the stream, the daemon, or Ctrl-C."""

import json
import sys
import time
from collections import deque
from contextlib import suppress
from typing import Any, Final

from rtmsd.ctl.client import stream_path
from rtmsd.ctl.context import Context
from rtmsd.ctl.earlier_streams import known
from rtmsd.ctl.errors import CtlError, Exit
from rtmsd.ctl.events import EventFile, ended, lost_events, show_event

POLL_S: Final = 0.25


def watch(context: Context) -> None:
    """Show events as they happen."""
    only = (
        context.client.get(stream_path(context.args.stream))["rtms_stream_id"]
        if context.args.stream is not None
        else None
    )
    with suppress(KeyboardInterrupt), context.client.live("/v1/events") as answer:
        for line in answer.lines():
            try:
                event = json.loads(line)
            except ValueError as error:
                raise CtlError(Exit.FAILED, f"{context.client.path} sent an event that is not JSON: {error}") from error
            if only is None or event.get("rtms_stream_id", only) == only:  # "lost" concerns all streams
                show_event(context.out, event)


def logs(context: Context) -> None:
    """Show the lines of `events.jsonl`, of one stream or of all, oldest first."""
    one: str | None = context.args.stream
    streams = _all_streams(context) if one is None else [known(context, one)]
    files: dict[str, EventFile] = {}
    without_file = [event for stream in streams for event in lost_events(stream)]
    lines: int | None = context.args.lines
    with suppress(KeyboardInterrupt):
        while True:
            for stream in streams:
                name, directory = stream["rtms_stream_id"], stream.get("directory")
                if directory and name not in files:
                    files[name] = EventFile(name, directory)
            new = [event for file in files.values() for event in file.new()]
            events, without_file = sorted([*new, *without_file], key=lambda event: event["at_ms"]), []
            for event in events if lines is None else deque(events, lines):
                show_event(context.out, event)
            if not context.args.follow or (one is not None and ended(events)):
                break
            lines = None
            time.sleep(POLL_S)
            if one is None:
                streams = _all_streams(context)


def _all_streams(context: Context) -> list[dict[str, Any]]:
    streams: list[dict[str, Any]] = context.client.get("/v1/streams", all="1")
    return streams


def tap(context: Context) -> None:
    """Copy live media to standard output, every byte as it comes."""
    media: str = context.args.media
    form = context.args.format or ("ndjson" if context.out.as_json or media != "audio" else "wav")
    if form != "ndjson" and media != "audio":
        raise CtlError(Exit.USAGE, f"--format {form} holds only audio", "Use --media audio, or --format ndjson.")
    if form != "ndjson" and context.out.terminal:
        raise CtlError(
            Exit.USAGE, "a terminal cannot play audio", "Pipe it (`| aplay`), or write it to a file (`> live.wav`)."
        )
    query = {"media": media, "format": form} | ({"user_id": context.args.user_id} if context.args.user_id else {})
    stdout = sys.stdout.buffer
    with suppress(KeyboardInterrupt), context.client.live(stream_path(context.args.stream, "tap"), **query) as answer:
        for chunk in answer.chunks():
            stdout.write(chunk)
            stdout.flush()
