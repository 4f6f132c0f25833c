"""A session and its stream on Zoom's side: handshakes, conversation, announcements, faults."""
