"""The parts of a stream that several members recorded: described, inherited, gathered, and deleted everywhere.

A *part* is what one member has of a stream, a complete recording of its own in the same place below its
`recording.directory`. Its *part record* in the engine says what is on disk of it (`describing`): the member writes it
when that has changed (`telling`), and who takes the stream over begins where the newest one ends (`inheriting`).

Who has the end gathers. It copies the stream's lines that the engine still has, asks the others on the bus
(`questions`, `serving`), copies what they have (`copying`), and puts the joined recording in the place of its own part
once that was verified (`joining`); then they hear of it, and retention may have theirs. The engine forgets lines sooner
than a member is given up that is away: the copy stays until then. What cannot be done yet is tried again for a week,
after a restart too, as the manifests say what is to be done (`gathering`), or when somebody asks for it (`asked`).

When Zoom revokes a stream, each member deletes what it has, and says so in its part record (`revocations`).
"""
