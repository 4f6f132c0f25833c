"""WAV files: their header, and tracks, which put each packet where its timestamp says. Pure."""
