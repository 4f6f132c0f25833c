"""The engines: where ownership is kept and how members reach each other. One module each behind `cluster.engine`."""
