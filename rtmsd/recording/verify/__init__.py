"""Verification of a recording, by code that reads the files on its own."""
