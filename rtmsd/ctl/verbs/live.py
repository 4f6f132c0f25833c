"""What goes on and on: watch, logs, tap. They end with the stream, the daemon, or Ctrl-C."""

import json
import sys
import time
from collections import deque
from contextlib import suppress
from typing import Any, Final

from rtmsd.ctl.client import stream_path
from rtmsd.ctl.context import Call
from rtmsd.ctl.earlier_streams import known
from rtmsd.ctl.errors import CtlError, Exit
from rtmsd.ctl.events import EventFile, lost_events, over, show_event

POLL_S: Final = 0.25


def watch(call: Call) -> Exit:
    """Show events as they happen."""
    only = call.client.get(stream_path(call.args.stream))["rtms_stream_id"] if call.args.stream is not None else None
    with suppress(KeyboardInterrupt), call.client.live("/v1/events") as answer:
        for line in answer.lines():
            try:
                event = json.loads(line)
            except ValueError as error:
                raise CtlError(Exit.FAILED, f"{call.client.path} sent an event that is no JSON: {error}") from error
            if only is None or event.get("rtms_stream_id", only) == only:  # "lost" concerns everybody
                show_event(call.out, event)
    return Exit.OK


def logs(call: Call) -> Exit:
    """Show what is written in `events.jsonl`, of one stream or of all, oldest first."""
    one: str | None = call.args.stream
    streams = _all_streams(call) if one is None else [known(call, one)]
    files: dict[str, EventFile] = {}
    without_file = [event for stream in streams for event in lost_events(stream)]
    lines: int | None = call.args.lines
    with suppress(KeyboardInterrupt):
        while True:
            for stream in streams:
                name, directory = stream["rtms_stream_id"], stream.get("directory")
                if directory and name not in files:
                    files[name] = EventFile(name, directory)
            new = [event for file in files.values() for event in file.new()]
            events, without_file = sorted([*new, *without_file], key=lambda event: event["at_ms"]), []
            for event in events if lines is None else deque(events, lines):
                show_event(call.out, event)
            if not call.args.follow or (one is not None and over(events)):
                break
            lines = None
            time.sleep(POLL_S)
            if one is None:
                streams = _all_streams(call)
    return Exit.OK


def _all_streams(call: Call) -> list[dict[str, Any]]:
    streams: list[dict[str, Any]] = call.client.get("/v1/streams", all="1")
    return streams


def tap(call: Call) -> Exit:
    """Copy live media to standard output, every byte as it comes."""
    media: str = call.args.media
    form = call.args.format or ("ndjson" if call.out.as_json or media != "audio" else "wav")
    if form != "ndjson" and media != "audio":
        raise CtlError(Exit.USAGE, f"--format {form} holds audio alone", "Use --media audio, or --format ndjson.")
    if form != "ndjson" and call.out.terminal:
        raise CtlError(
            Exit.USAGE, "sound would go to the terminal", "Pipe it (`| aplay`), or write it to a file (`> live.wav`)."
        )
    query = {"media": media, "format": form} | ({"user_id": call.args.user_id} if call.args.user_id else {})
    sink = sys.stdout.buffer
    with suppress(KeyboardInterrupt), call.client.live(stream_path(call.args.stream, "tap"), **query) as answer:
        for chunk in answer.chunks():
            sink.write(chunk)
            sink.flush()
    return Exit.OK
