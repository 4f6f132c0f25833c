"""Connections to Zoom: allowed hosts, TCP, TLS, WebSocket, and the fast path of media messages.

Theory of operation
-------------------
A stream opens one signaling connection and some media connections, all of them WebSockets with the client's side here.
`open_signaling` and `open_media` (`websocket`) are the public face: async context managers that connect on entry and
close on exit. Layers, lowest first:

    hosts       the URL is taken apart and checked once: no other host is ever connected to
    dial        TCP (`network.TcpStream`), and TLS over a MemoryBIO (`tls.TlsStream`)
    lifting     `UpgradeStream`: what trio-websocket reads and writes
    websocket   trio-websocket: upgrade, pings, close handshake, and the messages of signaling

trio-websocket takes 28-33 µs for each message, far too much for hundreds of media connections. So on these
`LiftingStream` puts its own frame reader (`frames.FrameSplitter`) below the library: whole text and binary messages are
lifted out of the bytes as they are read and given to a consumer synchronously, one batch for each read, 2 µs a message;
control frames pass up, and trio-websocket still answers pings and closes. At the first illegal frame the splitter steps
aside for good, and the library sees what it would have seen without it, so that the close code is right. Signaling has
few messages, and reads them all through the library; the splitter there only notes the time of complete frames.

Waking a task for each packet would cost more than reading it. `SharedLiftingStream` therefore leaves the waiting to one
system task (`network.SocketSet`) with an epoll set of its own, in which a media socket stays registered from the RTMS
handshake to the close frame; before and after, somebody waits for its answer, and it waits by itself. The task calls
the reader of each readable socket, 16 sockets a turn. After a turn it rests, so that packets close in time are read in
one wake-up: while nobody listens, up to `streams.max_rest_ms` from one turn to the next, unless a sender fills a
buffer; else 0.5 ms (`timer`, a timerfd) after a busy turn. `TlsStream` decrypts all records of a read at once for the
same reason.

Backpressure is a `Gate`, asked before each read: while it is shut, nothing is read and TCP holds the sender back; no
queue stands between socket and consumer. A read that brings more than 512 messages is handed on in parts, with a turn
for other tasks in between.

Owners: the nursery of an open connection holds trio-websocket's reader; the user of the context manager holds the
connection. When either ends, the connection is closed: close frame, reading on for 0.5 s at most, then TCP.

What must hold:
- A consumer gets each complete message exactly once and in order, also those that arrive while the connection closes.
- Errors of Trio, OpenSSL, h11 and wsproto become `ConnectionLost` here, with a cause: the firewall, the route, DNS,
  the certificate or Zoom (`failures`); it never contains a URL, as these are secret.
- Every opening and closing has a limit. Bytes that complete no frame are no sign of life.
"""
