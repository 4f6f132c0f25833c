"""One process as a member of a cluster on several machines: what it does there, and what people see of it."""
