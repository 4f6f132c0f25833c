"""Opus in Ogg (RFC 6716, RFC 7845): packets as sent, pages, and tracks. No decoder, no library."""
