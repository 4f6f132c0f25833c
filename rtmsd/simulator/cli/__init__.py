"""`rtmsd simulate`: its arguments, and the lines it prints."""
