"""Several rtmsd processes that are one: who owns a stream, and how members ask each other. Theory of operation.

**Words.** A *member* is one rtmsd process, an *incarnation* one life of it. The *owner* of a stream is the member that
may connect to it at Zoom; its time as owner is a *tenure*, numbered by *epoch*, and proved by a *token*. What one
member has recorded of a stream is its *part*. A *beat* is a member's sign of life.

**Two kinds.** `rtmsd.workers`: members on one machine that share the state file, the directories of recordings and the
listening sockets. Their engine is `engines.sqlite` for ownership and `engines.sockets` for questions; their parent says
who died, which is exact, so that there are no beats. `rtmsd.node`: members that share no disk. Their engine is NATS
(`engines.nats`); they beat (`life`, `liveness`), tell the engine of their streams and copy log lines to it (`keeping`),
describe and gather their parts (`parts`), and give streams away (`handover`). With both, workers are members that share
no disk either: in a cluster the state file is where one member notes what is its own, a recording is one member's part,
and a member that wakes from a freeze writes on for a moment. Two that shared either would need a second set of rules.

**How a stream is claimed.** A member reads the ownership record, and writes its own on condition that the record is
still the one it read. In the state file that is one transaction with the stream's row. The claim is lost also when a
webhook was recorded since the read: what the winner begins with would be old. The answer may be lost as well: the
record is read back, and it is mine if my nonce is in it; while that cannot be read, the claim is in doubt, and
`Ownership.run` settles it later. A stream's life begins only after its claim.

**How a webhook finds its stream.** Whichever member receives it asks in this order (`Router`): is the stream mine; does
a living member own it, which then judges and answers; is its owner dead, so that I claim it and act; is it new, so that
the member with the least load claims it. What is forwarded once is not forwarded again: who is not the owner says so,
and the sender looks anew. An owner that lives and does not answer in time: the command is made safe here, Zoom gets its
200, and it is delivered until the owner has it.

**How long a member owns.** There is no lease. An owner that cannot reach the engine records on; with the engine gone,
nobody else can claim either. Before each signaling handshake it asks (`Ownership.may_connect`): mine, go on; another's,
let go; no answer for 20 s, connect once without knowing. A server that has lost the others answers for some seconds as
if it still led them: so an answer counts only when most servers agree (`KeptStore.confirm`). A claim that they took
within the last second is one, too: who takes a stream over does not ask again. If the connection is refused with status
8, or lost within 30 s, somebody else has the stream: let go. Letting go is no end: nothing is said to Zoom or the
journal, and the files are suspended (see `rtmsd.streams`). A member that wakes from a freeze needs no more than this
question.

The engine forgets what is old, so that an owner writes its record anew before that (`keeping.renewal`).

**While the engine is away** (`rtmsd.node`) what is recorded goes on, log lines wait on disk, and what webhooks change
is noted in the state file as not yet told. A start that comes meanwhile is begun where it arrives, unclaimed, as is one
whose claim the servers do not take (their disks are full, a leader has died); should two members begin the same stream,
status 8 keeps one out, and the first claim decides. A member that starts without the
engine goes on with what its state file says it had. When the engine is back it is told all, and who turns out to have
lost a stream lets it go. A crash of the cluster's code is an engine that is away: no stream ends by it.

**Status 8** says that another connection has the stream's slot at Zoom: one of ours that Zoom has not given up yet, or
another process's. Zoom's documents disagree on whether a second connection is refused or evicts the first. One rule
does for both, with or without a cluster: the stream lives, no window runs, and it is tried again every 1.5 s.

**How the streams of a dead member go on.** The living look for orphans at their start, at each death, and every 10 s
(`Takeover`). They rank each other by a hash of member and stream (`rules.rank`): the first claims now, the next a
second later. A later life of the owner comes first of all. At most 64 at a time are being connected, 128 by a worker
without `[cluster]`, those first that have been without media the longest.

**How a member gives its streams away** (`handover`). Drained or told to move a stream, its owner asks the members in
the order of their ranks whether they would take it: asking costs nothing. The first that would: the stream is let go,
the other told to take it, and it claims. Meanwhile the owner holds the stream's turn, so that webhooks wait for the
new owner. The record decides whatever answer is lost; if it names the old owner still, the next member is asked, and
in the end the stream is connected again where it was. An offer carries the owner's token: one that comes late, of an
earlier tenure, is refused. Zoom buffers audio while nobody is connected, so none is lost, but no transcripts: a drain
has few streams under way while they are quick, as each slows down those beside it, and more while they wait
(`handover.pacing`). Of sixteen at a time each was without transcripts for about as long as all of them took.

**When a member is dead, without a parent** (`liveness`). A clock cannot tell a dead peer from an engine that is away. A
member's own beats that come back through the bus can: a peer is dead after three full beats of silence, in which own
ones came back. The first echo does not count, since it may be of the moment in which the peer beat last. After any
outage of the bus or of this process, three more: the others may need a while to connect again. Echoes come back also
when this member's server is cut off from those of the others. Then it can claim nothing; and when it can, whoever was
silent must be so once more (`Takeover`).

A process that begins with the name of a member that lives stops again: nobody could tell the two apart. Beats of the
name's last life may still arrive, but in one burst.

**What must hold.**

- A stream has one owner at any time, and one token for each claim, greater than all before.
- No decision uses a wall clock, and none is made on a guess: `Away` means that nothing is known, `Nobody` that nobody
  was asked.
- A record of a newer version is left to the members that can read it; keys that are unknown are handed on. Only its
  order to delete is one in all versions: who left that to others would keep what must not be kept.
- What comes from another member is read as strictly as a webhook (`codec`, `hooks`), and crashes nobody.
"""
