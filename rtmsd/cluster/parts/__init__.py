"""The parts of a stream that several members recorded: described to each other, inherited, and deleted everywhere.

A *part* is what one member has of a stream, a complete recording of its own in the same place below its
`recording.directory`. Its *part record* in the engine says what is on disk of it (`describing`): the member writes it
when that has changed (`telling`), and who takes the stream over begins where the newest one ends (`inheriting`). When
Zoom revokes the stream, each member deletes what it has, and says so in its part record (`revocations`).
"""
