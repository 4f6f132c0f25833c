"""The files of a stream: placed by Zoom's time, safe against crashes, every gap explained."""
