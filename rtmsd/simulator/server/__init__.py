"""The listener, the REST API and the certificate authority of a simulated Zoom."""
