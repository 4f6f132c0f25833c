"""One session and its stream as Zoom's servers keep them: handshakes, conversation, announcements, faults."""
