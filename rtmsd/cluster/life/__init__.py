"""The life of a member on several machines: its beats, and what it makes of those of the others."""
