"""The parts of a stream that several members recorded: described to each other, and inherited.

A *part* is what one member has of a stream, a complete recording of its own in the same place below its
`recording.directory`. Its *part record* in the engine says what is on disk of it (`describing`): the member writes it
when that has changed (`telling`), and who takes the stream over begins where the newest one ends (`inheriting`).
"""
