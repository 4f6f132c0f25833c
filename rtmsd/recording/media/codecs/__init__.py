"""Decoders from what Zoom sends to what is stored."""
