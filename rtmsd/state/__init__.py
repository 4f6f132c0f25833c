"""Persistent state: the journal of accepted events, in a SQLite file that survives loss and damage."""
