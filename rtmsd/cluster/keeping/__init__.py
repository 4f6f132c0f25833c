"""What a member on several machines writes down: in the engine for all, and in its own state file for itself."""
