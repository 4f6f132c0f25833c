"""rtmsctl: the client of the admin socket. It starts fast: no Trio, no attrs, and nothing heavy before it is needed."""
