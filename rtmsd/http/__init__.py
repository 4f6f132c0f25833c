"""The HTTP/1.1 server behind both doors: the webhook's, and the admin socket's (with the port for metrics).

Theory of operation
-------------------
A `Door` says what differs: its limits, who a client is, what answers it, and what happens when it is full.

`serve` accepts one connection in each pass of the event loop and gives each a task of its own, a `Connection`. That
alternates between three phases: IDLE (no byte of a request has come), READING (some have, not all), ANSWERING. A
request is read whole, within its limits, before anything is asked to answer it; what cannot be read is refused, and
the connection closed. h11 parses; `head` refuses beforehand what h11 lets through and another server on the way may
understand differently. While a request is answered nothing is read, so nothing that a client does cancels the answer:
an event that came whole is accepted although its sender has hung up.

An idle connection is kept for longer than proxies keep theirs, so that it is the proxy that closes: a server that
closes just as a request comes makes a 502. It holds its place only until somebody needs it: the oldest is closed for a
new client. One with unread bytes is not idle, whatever its phase. A request that has been arriving for more than a
second gives way as well; one that is being answered never does.

Streams share the event loop and come first: all that arrives passes a turnstile, so that each pass of the loop takes up
no more than one request. Out of file descriptors, a door closes idle connections and lives on a few spare descriptors;
it neither spins nor fills the log.

The webhook's application is Quart-Trio's. `asgi` calls it as the ASGI specification has it, and knows nothing of what
is inside.
"""
