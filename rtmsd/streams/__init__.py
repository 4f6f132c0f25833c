"""The streams: each one connected, recorded and supervised by itself. Theory of operation.

**What it is.** Zoom announces a stream by a webhook. From there we open one signaling connection to it and, behind
that, media connections; both are lost now and then, and opened again within the time that Zoom keeps our slot. This
package does that for every stream at once, such that nothing that happens to one is noticed by another.

**Three layers**, of which each knows the ones below it only:

- `core` decides. It has no Trio, no socket and no clock: inputs come with their time, and actions follow.
- `drivers` act. Each stream is a `Stream` with a nursery, whose tasks are its signaling connection, its media
  connections, and the timer that wakes the core (for a reconnection, a window, the end) and the keep-alive watchdog.
- This level manages. `Supervisor` has all streams and hands them what webhooks and operators want; `ManagedStream` is
  one of them, from its command to its finished files; `Runner` opens and runs it, and `Finalizer` finishes, suspends or
  deletes the files.

**How a webhook flows.** `Supervisor.accept` makes a command safe in the journal and then submits it. A stream that is
unknown gets a task of its own: it opens the recording, then runs the `Stream` until that returns an `Outcome`. A
command that comes while files are being opened, or finished, waits in `ManagedStream.waiting` for its turn; only a
revocation waits for nothing.

**How a byte of media flows.** From the socket, `MediaDriver._consume` gets each read's batch and hands it to
`decode_batch`, which calls the recorder. There is no queue, no task switch and no action in between. Only while the
phase is not `ACTIVE` does the core hear of it.

**How a loss flows.** A driver reports that its connection is closed, and why. The core puts the loss down to one
`GapCause`, has it recorded by an action, plans the next attempt, and asks to be woken then. What the recording calls a
gap, the log a loss, and the metrics a reconnection, has that one cause.

**How a stream ends.** The core decides it once, by an `Outcome` that says why. After an end by Zoom, media that are on
their way are read on for a little; then `Stream.run` returns, the finalizer completes the files, and last the journal
forgets the stream. If the process dies in between, the next one finds it in the journal and finishes it.

**How a stream changes hands.** Before each signaling handshake the driver asks the `Tenure` whether the stream is ours.
If it is another's, or if that shows after an attempt that was made without knowing, the core lets it go; so does
`Supervisor.let_go`. It closes signaling, reads for a second what its media sockets still hold, and leaves: then
`Stream.run` returns `LetGo`, which is no end, and the files are suspended. `Supervisor.adopt` takes a stream on at any
time, with the cause of what is missing since somebody else had it, and goes on with the files that are here.

**What status 8 means.** Another connection has the stream's slot: one of ours that Zoom has not given up yet, or that
of another process. Either way the stream lives, so no window runs, and it is tried again at a flat pace.

**What must hold.**

- An exception in one stream ends that one: `Runner.run` is the boundary. A bug is logged with its traceback, a
  foreseen error in one line, and both end as `failed` in the files.
- Nobody waits for a disk except who finishes files. While a stream's bytes fill their bound, its media sockets are not
  read (`drivers.backpressure`), and that only for as long as keep-alives allow.
- Every list is bounded: streams that ended (`finalizer.REMEMBERED`), that were lost (`lost`), what Zoom said lately
  (`drivers.diagnostics`). `summary` makes of all this what the admin API shows.
"""
