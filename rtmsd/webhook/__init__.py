"""Zoom's HTTP side: what a webhook must look like, what it says, and the endpoint that takes it."""
