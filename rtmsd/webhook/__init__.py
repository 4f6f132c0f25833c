"""Webhooks: signature, content, and the endpoint that Zoom posts them to."""
