"""The media a simulated Zoom sends: speech, pictures, transcripts, and hostile payloads."""
