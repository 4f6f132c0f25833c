"""The RTMS wire protocol without IO: no Trio, no socket, no clock."""
