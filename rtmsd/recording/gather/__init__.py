"""The parts of a stream that members of a cluster recorded, joined to one recording. Synchronous, for a worker thread.

A part is read as it would be repaired, and never changed. `sources` and `clips` read parts; `pieces` and `coverage`
decide, without a file, which audio is taken from where and what is missing in all; `audio`, `joined_audio`, `lines` and
`pictures` make the joined files, `joining` makes the manifest. `gather` puts a joined recording in place once it is
verified.
"""
