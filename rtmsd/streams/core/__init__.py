"""The core: the decisions of one stream, without Trio, socket or clock.

`StreamCore` takes inputs, each with its time; the actions that follow (`actions`) are then taken from its situation. It
never waits: what is to be done later is a time in its state, and the earliest of these is asked for by `Wait`.

The state is a `Situation`: the phase of the stream (`phase`, an enum and a table) and its sub-sessions, its connections
(`connections`: where each is, and its attempts), what was lost (`reconnect.Outage`) and how it ends (`ending`). The
parts that decide share it and do not know each other's insides: `signaling`, `media`, `individual` (one participant's
video, by the policy in the package `video`), and `stream_core`, which follows Zoom's words, webhooks and operators.

What must hold, and is played against a model of Zoom in the tests: there are never two connections for one purpose; an
interruption never extends a window; each loss has exactly one cause; an end has a reason, comes once and is for good;
after it nothing is opened or sent, and neither is for a stream that is let go, which never ends here.
"""
