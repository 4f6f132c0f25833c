"""What survives the process: the journal of accepted events, and the lock that keeps a second daemon out."""
