"""The RTMS wire protocol without IO: no Trio, no socket, no clock, no file.

Theory of operation
===================

Everything here is a value, a table or a function of its arguments. A driver (`rtmsd.streams`) owns the WebSocket: it
passes each frame in and sends what comes out. The simulator uses the same messages and the state tables swapped.

Control messages. `connection.Connection` is one WebSocket's conversation; `signaling.SignalingConnection` and
`media.MediaConnection` are its two kinds. `receive(frame)` returns a message or None, `send(message)` queues one, and
`to_send()` returns the texts to write. Keep-alives are answered inside. `SENT` and `RECEIVED` of each kind map (state,
message class) to the next state; an absent pair is illegal: ours raises `LocalProtocolError`, Zoom's is counted. Only
the answer to a handshake can end a connection here. What comes before that answer is kept and received after it.

From a frame to a message: `reading.load_object` (JSON), `variants.READERS` (Zoom's dialects folded into one shape),
`reading.split` (typed fields), then a class of `messages`. `codec` joins these, and writes the other way.

Media data (14-18) are most of the traffic and take a path of their own: `media_data.decode_batch` reads a whole batch
and calls a `MediaHandler`. A fast reader takes what Zoom documents, a tolerant one all the rest; they agree on every
message that both can read. Whatever is no media data goes to `control`, which passes it to the connection.

Tolerance. What a person writes is read strictly, what Zoom sends tolerantly. An unknown key, or a known optional one
with an unusable value, stands in `Message.extra`; an unknown `msg_type` is an `UnknownMessage`; an unknown number stays
an `int`; `unknown` names all of them, to be kept and counted, and none is fatal. What is fatal is an answer in another
version than was asked for, or without a WebSocket address (`UnspokenProtocol`). A frame that cannot be read is
`Malformed`, with a `CorruptKind` to count. Texts that live as long as a stream are cut by `bounds`: no sender decides
how much memory a stream takes.

Times. Messages carry Zoom's time as sent; `times` makes milliseconds since the epoch of any unit. Local time occurs
nowhere here. The timestamp of a keep-alive is echoed exactly as it came.

Where to look
    enums, languages, messages          numbers, and what travels
    codec, reading, variants            text to message and back
    connection, signaling, media        state tables, handshakes, keep-alives
    media_data, chat, speakers, rtp     media data
    media_params, media_matrix          defaults and negotiation, and what is valid
    media_types, media_summary          names, numbers and words for these
    products                            in what session, meeting, webinar, contact center and phone differ
    policy                              status codes and stop reasons to what has to be done
    explanations, status_texts          the same numbers in words, for people
    causes                              states of a recording and causes of gaps
    unknown, addresses                  what this version does not know; URLs of servers
    signature, times, bounds            HMAC of the handshakes, units of time, limits of texts

To add a message: its number in `enums.MsgType`; its class in `messages`; its moves in the tables of `signaling` or
`media`; where the wire's shape is odd, a rewrite in `variants`; and a strategy for the round trip in the tests of the
codec.

To add a product: its row in `products.PRODUCTS`, and a case in the test of that table. To add a medium: its numbers in
`enums`, its parameters in `media_params`, its message in `media_data`; `media_types` derives the rest from its name.
"""
