"""The parts of a stream that members of a cluster recorded, joined to one recording. Synchronous, for a worker thread.

A part is read as it would be repaired, and never changed. `sources` and `clips` read parts; `pieces`, `seams` and
`coverage` decide which audio is taken from where and what is missing in all; `audio`, `lines` and `pictures` make the
joined files, `joining` makes the manifest. `gather` puts a joined recording in place once it is verified.

Events and transcripts that no part has any more may be in the engine's log, of which a copy is given: `lines` puts them
into their places, and `coverage` counts as not missing what the log proves to have all of.
"""
