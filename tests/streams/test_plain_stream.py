"""From the started webhook to the end, when nothing is lost."""

from tests.streams.harness import Bench


async def test_a_stream_that_ends_by_webhook(bench: Bench) -> None:
    await bench.up()
    audio = bench.zoom.last("audio")
    await audio.audio(1_790_000_000_000)
    await bench.until(lambda: bench.state() == "active")
    await bench.stop(6)
    assert bench.zoom.last("signaling").sent(7)
    await bench.until_gone()
    assert bench.manifest()["state"] == "ended"
    assert bench.manifest()["gaps"] == []


async def test_what_cannot_be_read_on_signaling_is_counted_in_the_manifest(bench: Bench) -> None:
    await bench.up()
    peer = bench.zoom.last("signaling")
    await peer.say(8, state="x")
    await peer.say(6, event=7)
    await peer.send("no JSON")
    await bench.stop(6)
    await bench.until_gone()
    counters = bench.manifest()["counters"]
    assert counters["unknown_kinds"] == {"message_unexpected": 3}
    assert counters["unknown"] == 3
