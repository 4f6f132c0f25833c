"""Verification of a recording, by code that reads the files on its own.

It shares the format with what writes, and no more: `manifest.schema` and `manifest.lines` say which keys there are and
of which type, `protocol.causes` the names of states and causes. WAV headers, lengths, indexes, gaps and pauses are read
and added up by code that is used nowhere else.
"""
