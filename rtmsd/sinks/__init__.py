"""Outputs: live readers of a stream, and what is done with finished recordings.

Theory of operation
===================

There are two kinds of outputs, and the difference is what they may lose.

A **live sink** (`base.LiveSink`) hears media and events as they come. It is called on the packet path, once for each
item that was kept, and must neither wait nor raise. `taps` are live sinks of the admin socket: each puts what it hears
into a bounded `ring`, from which the reader's own task takes all that is there. A reader that is too slow loses the
oldest items, and is shown how many; the recording never loses by it. Events of all streams fan out through the `hub`;
media do not, as each recorder has a list of its own listeners, empty as a rule, and a packet pays for one look at it.

An **archive sink** (`base.ArchiveSink`) takes finished recordings, each at least once. It has one method, `deliver`,
that returns when the recording is safe, or raises `TryAgain` or `Refused`. All else is in `deliveries`, and the same
for every kind:

- The queue is a table of the state file (`rtmsd/state/deliveries.py`). A recording is queued, once for each configured
  sink, in the transaction in which the journal closes its stream: neither is there without the other.
- A row goes waiting -> running -> done, waiting again with a later time, or dead. It is written down as running before
  the sink is called. A process that starts finds rows that run, and has them wait: they run again.
- A sink runs at most `parallel` deliveries, in tasks of a nursery of the daemon beside the streams. Their failures are
  counted, logged and kept in the row; they end neither a stream nor the daemon.
- A row is held back while its stream lives: a recording that was reopened is delivered when it ends again. Of one sink
  and stream only the oldest row runs.

**Retention** asks `Deliveries.unfinished` which recordings are still wanted. **A revocation** has two steps, around the
deletion of the files. Before it, `revoke` kills what runs for the stream and lets nothing begin. After it, in the
transaction that closes the stream, its rows are deleted, whatever programs said with them, and each sink that had begun
gets one row with the event `revoked`, which is delivered like any other.

What must hold
--------------

- Nothing here slows or stops a recording: no queue without a bound, no wait on the packet path, no exception outwards.
- What is queued is delivered, refused or revoked; a sink that is gone from the configuration leaves dead rows, for
  which nothing waits.
- After a revocation nothing begins that was given the recording, and whoever was given it is called once more.
- This package imports `protocol`, `config`, `state`, `errors`, `masking`; recorder, streams, admin pass in the rest.

A new sink is a module with an `ArchiveSink`, its keys in `rtmsd/config/sinks.py`, and a row in `registry`.
"""
