"""The transport of a simulated Zoom: WebSocket connections with their watch, and the webhooks it sends."""
