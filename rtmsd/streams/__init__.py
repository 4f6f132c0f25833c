"""Who lives how long: the supervision of streams."""
