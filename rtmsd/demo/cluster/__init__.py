"""`rtmsd demo --cluster`: the same for three daemons that are one, on NATS."""
