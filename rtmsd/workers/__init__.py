"""All cores of one machine: a parent that owns no stream, and workers that are members of each other's cluster."""
