"""The engine on NATS with JetStream: members on several machines share three servers.

The client is `nats-py`, which knows asyncio alone. So a loop of it runs in a thread (`engines.asyncio_thread`), where
`client` and `link` work; these three are the only modules of rtmsd that import either. `connection` is what Trio sees
of it: requests, messages that come in, and gaps in them. Nothing above knows of threads: `jetstream` speaks the
servers' API by requests, `layout` says what is kept where, `owners` and `streamlog` store records, `watch` follows all
owners, `bus` has questions and beats. `engine` puts them together.

**Every write may be repeated.** An ownership record is written on condition that the one before is still the newest,
and is found again by its nonce; what is fenced by it is replaced, or has a number by which its readers drop repeats.
So a request that got no answer is sent again until its time is up, and only then does the engine count as away.
"""
