"""The HTTP/1.1 server behind both doors: the webhook's, and the admin socket's (with the port for metrics).

Theory of operation
-------------------
A `Door` holds what differs between servers: limits, the identity of a client, the handler, and the answer when it is
full. `listening` opens the sockets of a door, or takes over those of systemd; a daemon that cannot have them starts
nothing.

`serve` accepts a few connections in each pass of the event loop and gives each a task of its own, a `Connection`. That
alternates between three phases: IDLE (no byte of a request has come), READING (some have, not all), ANSWERING. A
request is read whole, within its limits, before the handler is called; an unreadable one is refused, and the connection
closed. h11 parses, and frames endless answers; `head` first refuses what h11 lets through and another server on the way
may read differently. While a request is answered nothing is read, so no act of a client cancels the answer: an event
that came whole is accepted although its sender has hung up.

An idle connection is kept for longer than proxies keep theirs, so that it is the proxy that closes: a server that
closes just as a request comes makes a 502. Its place (`places`) goes to a new client when there is no other: the oldest
idle connection is closed. One with unread bytes is not idle, whatever its phase. A request that has been arriving for
more than a second gives way as well; one that is being answered never does.

Streams share the event loop and come first: all input passes a turnstile, so that each pass of the loop takes up no
more than `IN_A_PASS` requests. One would be too few, as a pass of a busy loop takes milliseconds, and a transaction of
the journal serves several; with eight, so many streams begin together that keep-alives are answered several times as
late. Out of file descriptors, a door closes idle connections and lives on a few spare descriptors
(`reserve`); it neither spins nor fills the log (`system.throttle`).

The webhook's application is Quart-Trio's. `asgi` calls it by the ASGI specification, and knows nothing of its inside.

`client` is the other end, for what one worker asks another at its Unix socket.

What must hold: every wait for a client has a limit, except the sending of an endless answer; a refusal or a crash costs
one connection, never the door; memory is bound by `Limits` times connections.
"""
