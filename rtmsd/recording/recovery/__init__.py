"""Repair of what a killed run left behind, and the state from which a recording is continued."""
