"""Zoom's SDK: its own signaling and media handshakes, one `rtms.run()` loop, audio in a callback."""

import json
import os
import threading
import time

import rtms
from common import CA, COUNT, URL, Tally

SILENCE_S = 1.5
START_S = 0.3  # for `rtms.run` to be there: a join before it gets a thread of its own
JOIN_EVERY_S = 0.02


if CA:
    os.environ["ZM_RTMS_CA"] = CA


def main():
    tally = Tally(lambda data: data)
    heard_s = [0.0, 0.0]  # when something was last received, and the CPU time by then

    def join(number):
        client = rtms.Client()

        def on_audio(data, *_):
            tally.take(number, data)
            if tally.messages % 16 == 1:  # the first, too: before it there is no silence to wait for
                heard_s[:] = time.monotonic(), time.process_time()

        def on_join(reason):
            if reason:
                print(json.dumps({"failed": f"join confirmed with reason {reason}"}), flush=True)
                os._exit(1)  # nothing else ends its threads
            tally.opened()

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
        client.on_audio_data(on_audio)
        client.on_join_confirm(on_join)
        stream = f"{number:04d}"
        client.join(
            session_id=f"s-{stream}",
            rtms_stream_id=stream,
            server_urls=f"{URL}/signal/{stream}",
            client="benchmarkClient",
            secret="benchmark-client-secret",
        )
        return client

    def finish():
        """The SDK reports a server's close too late: silence ends the count."""
        while not tally.messages or time.monotonic() - heard_s[0] < SILENCE_S:
            time.sleep(0.1)
        tally.report(heard_s[1])
        rtms.stop()

    def work():
        time.sleep(START_S)
        clients = []
        for number in range(COUNT):
            clients.append(join(number))
            time.sleep(JOIN_EVERY_S)  # many joins at once can crash it
        finish()

    threading.Thread(target=work, daemon=True).start()
    rtms.run()


main()
