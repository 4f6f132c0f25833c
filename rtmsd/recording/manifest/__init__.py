"""The manifest of one recording, `stream.json`: its schema and the entries it is made of."""
