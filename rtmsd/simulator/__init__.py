"""A simulated Zoom: real sockets, signed webhooks, strict checks, faults on demand, and an exact record.

It stands in for Zoom in tests, in the demo, and for people who develop against RTMS without an account. It shares only
`rtmsd.protocol` and the webhook signature with the daemon, so that a mistake in the daemon is not made twice.

Theory of operation
===================
`open_simulator` listens and yields a `Simulator`; `start_session` makes a `SimSession` and posts its started webhook.
A scenario (`play`) or a test then calls methods of the session: people join and talk, connections are cut.

**Audio.** A `Crowd` notes who talks when, in Zoom's time. One clock task calls `advance` on every session that is due;
its `AudioFeed` moves a cursor along that time, takes from an `AudioSource` the packet of each speaker and puts it, as a
ready WebSocket frame, on the `Wire` of the media connection. The wire writes to the kernel without waiting where it
can. No packet is stored: a lagging cursor is Zoom's buffer, and a source makes the same bytes for a number every time.
Transcripts, chat and pictures are sent in the same call, or discarded: Zoom does not buffer them. Opus and pictures are
encoded by PyAV where it is installed, once for each voice and frame, and are small clips of the package elsewhere.

**Clients.** The `Acceptor` serves each TCP connection: TLS, the upgrade, then by its URL path a stream. `converse`
answers the handshake by `stream/checks.py`, pure functions after the protocol notes, and then each message from a
table. `Links` holds the connections whose handshake succeeded, `Watch` asks for keep-alives, `Windows` end a stream
whose client stays away. What a handshake is granted may differ from what it asks for (`Answers`).

**Webhooks.** The `WebhookSender` signs each and repeats it as Zoom does. Zoom knows one URL; where several are given, a
`Balancer` stands before them.

**The record.** Every media message carries a token; the wire settles it with a `Fate`: sent, in flight at a reset,
lost on a dead wire, or discarded. A discarded audio packet goes out on the next connection, as from Zoom's buffer. So
`Record` says of every packet whether it must, may or cannot be in the daemon's files: tests and demo compare with it,
never with the daemon's own counters. Marked packets and frames name themselves: `marks.find_marks`, `opus.opus_mark`
and `frames.read_counter` find each one in a file. Breaches of the protocol by the client are `Violation`s in the same
record. It also has the peer of each connection, so that `tenures`, `two_at_once` and `contests` judge a client that is
several processes: who held a stream when, and who came while it was held.

**Time.** Only `ZoomClock` gives times on the wire. `speed` shortens all of Zoom's delays and windows; the few limits of
a local machine (upgrade, webhook answer) stay in local seconds.

**Ownership.** The simulator owns one nursery for the clock, the listeners and the stops of streams, and one for webhook
retries; a connection has a nursery with its reader and its writer. A client's mistake ends at most its connection, and
leaving `open_simulator` cancels everything.

**Invariants.** A stream has at most one signaling connection, and one media connection for each medium: a second one
for signaling is refused or evicts the first (`DuplicateSignaling`). A packet is never handed over twice unless
`repeat_audio` asks for it; no keep-alive timestamp is used twice in a session.

Wings, each importing only those before it: `model`, `wire`, `media`, `stream`, `server`, `scenario`, `cli`.
"""

from rtmsd.simulator.model.answers import Answers, AudioAnswer, PictureAnswer
from rtmsd.simulator.model.fate import ARRIVED, Fate
from rtmsd.simulator.model.record import Peer, Record
from rtmsd.simulator.model.settings import Dialect, DuplicateSignaling, Person, SimulatorSettings, Timing, Tone
from rtmsd.simulator.model.tenures import Tenure, contests, tenures, two_at_once
from rtmsd.simulator.scenario.scenario import Scenario, ScenarioError, Step, built_in, load, play
from rtmsd.simulator.server.server import Simulator, open_simulator
from rtmsd.simulator.stream.session import SimSession
from rtmsd.simulator.wire.wire import Cut

__all__ = [
    "ARRIVED",
    "Answers",
    "AudioAnswer",
    "Cut",
    "Dialect",
    "DuplicateSignaling",
    "Fate",
    "Peer",
    "Person",
    "PictureAnswer",
    "Record",
    "Scenario",
    "ScenarioError",
    "SimSession",
    "Simulator",
    "SimulatorSettings",
    "Step",
    "Tenure",
    "Timing",
    "Tone",
    "built_in",
    "contests",
    "load",
    "open_simulator",
    "play",
    "tenures",
    "two_at_once",
]
