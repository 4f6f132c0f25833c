"""The recordings on disk: listing, retention, revocation."""
