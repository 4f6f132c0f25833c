"""Several streams, and what is done to those who record them: what the demos of workers and of a cluster share.

A story begins streams and inflicts incidents; afterwards each incident has its cost for each stream, by the simulator's
record and the files, and the checks compare the costs with the limits.
"""
