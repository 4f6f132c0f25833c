"""The simulator itself: sessions, listeners, REST API and certificate authority."""
