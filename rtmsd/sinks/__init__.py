"""Outputs: live readers, and what is done with finished recordings."""
