"""rtmsctl: the client of the admin socket. It starts quickly: no Trio, no attrs; large modules only when needed."""
