"""Connections to Zoom: which hosts, TLS, WebSocket, and media lifted out of the bytes before the library sees them."""
