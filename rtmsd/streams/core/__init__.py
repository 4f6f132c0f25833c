"""The decisions of a stream, without Trio, socket or clock."""
