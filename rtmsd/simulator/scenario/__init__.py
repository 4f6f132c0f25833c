"""Scenarios in TOML: a session and what happens in it when."""
