"""One admin socket in front of several workers: whichever of them accepts a client answers for all.

Theory of operation
-------------------
Every worker has a second admin server, on a Unix socket of its own that only the daemon's user can open. There it
answers for itself alone, exactly as one process does at the public socket, and a few questions that only workers ask.
`Fleet` looks up how a command spreads (a column of the table in `admin.commands`) and asks these servers: all, or the
one that has the stream. Its own part it asks itself, without a socket.

A worker may be dead, stopped or mad. It is given `ASK_S` to answer, and is *silent* if it did not, or if what it said
makes no sense; the answer for all then goes without it, and names it. A command that concerns a worker that is silent
is refused, and says why: nothing is carried out on a guess.

Workers share a state file and recordings, so that whoever is asked knows of them; or, as members of a cluster, each has
its own: then lists are of all, and what concerns one recording or delivery is asked of all, of whom those that have it
carry it out (`kept`).

Rights are checked before anything is passed on. With what is passed on goes who asked, so that the log of the worker
that carries it out names the person and not its colleague.

Counters go on counting: what a worker had counted before it died is remembered by the others (`samples`), or a scrape
after its death would look as if all of them had begun anew.
"""
