"""Scenarios in TOML: a session and its timed steps."""
