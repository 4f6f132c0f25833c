"""One participant's video: the decisions on whose it is (messages 28 and 29), without Trio, socket or clock.

Zoom sends no video on such a connection until it is asked for somebody's, and one participant's at a time. `people`
knows whose camera is on and who spoke last, `choice` picks one of them, and `policy` asks Zoom for that one
(`requests`): a request at a time, its answer awaited for `ANSWER_S`. `individual`, in the package
above, is where the core meets it.

- A choice of `follow` waits until `switch_after_s` have passed since the last switch, for as long as there is somebody
  to be seen. The first choice, and one after the camera that was seen went off, is made at once; so is an operator's.
- An operator's choice holds until the next one, over reconnections, too. One that Zoom refuses is not taken: the one
  before holds. One that is not answered holds, and is asked for again.
- What failed is tried again at the next reason: an event about a camera, a speaker or a participant, an operator's
  choice, a reconnection. Who is gone, as Zoom says, is not chosen again until there is an event about that participant.
- Zoom may repeat joins and cameras after a reconnection, or not: what is known stays known, and what comes is added.
  Whether a subscription outlives the camera being off is not documented: when it goes on, we ask again, and where
  nobody shall be seen, we end it.
"""
