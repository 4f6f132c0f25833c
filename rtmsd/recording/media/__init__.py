"""The media of one recording: packets placed in audio tracks, pictures, transcripts and chat."""
