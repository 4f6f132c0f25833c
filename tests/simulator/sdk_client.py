"""A receiver built on Zoom's published SDK, in a process of its own: writes each callback as a line of JSON.

Started by `test_sim_sdk.py` with what `Client.join` takes, as JSON. It ends with the stream, or when its standard input
is closed. The SDK writes logs to standard output, in the middle of lines: they go to standard error.
"""

import json
import os
import sys
import threading

import rtms

reports = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

EVENTS = [rtms.EVENT_PARTICIPANT_JOIN, rtms.EVENT_PARTICIPANT_LEAVE, rtms.EVENT_ACTIVE_SPEAKER_CHANGE]


def report(kind: str, **fields: object) -> None:
    print(json.dumps({"kind": kind, **fields}), file=reports, flush=True)


def main() -> None:
    client = rtms.Client()
    joined = threading.Event()

    def on_audio(data: bytes, size: int, timestamp: int, metadata: rtms.Metadata) -> None:
        report("audio", bytes=len(data), timestamp=timestamp, user_id=metadata.userId, user_name=metadata.userName)

    def on_transcript(data: bytes, size: int, timestamp: int, metadata: rtms.Metadata) -> None:
        report("transcript", text=data.decode() if isinstance(data, bytes) else data, user_id=metadata.userId)

    def on_join(reason: int) -> None:
        report("joined", reason=reason)
        joined.set()

    def on_leave(reason: int) -> None:
        report("left", reason=reason)
        os._exit(0)  # nothing else ends the SDK's threads

    client.on_join_confirm(on_join)
    client.on_leave(on_leave)
    client.on_audio_data(on_audio)
    client.on_transcript_data(on_transcript)
    client.on_event_ex(lambda event: report("event", event=event))
    client.on_session_update(lambda operation, session: report("session", operation=operation))
    client.set_audio_params(
        rtms.AudioParams(
            content_type=rtms.AudioContentType["RAW_AUDIO"],
            codec=rtms.AudioCodec["L16"],
            sample_rate=rtms.AudioSampleRate["SR_16K"],
            channel=rtms.AudioChannel["MONO"],
            data_opt=rtms.AudioDataOption["AUDIO_MULTI_STREAMS"],
            duration=20,
            frame_size=320,
        )
    )

    def work() -> None:
        report("join", ok=client.join(**json.loads(sys.argv[1])))
        joined.wait()  # before, there may be no connection to ask on, and in a callback the SDK waits for itself
        client.subscribe_event(EVENTS)
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=work, daemon=True).start()
    rtms.run()


main()
