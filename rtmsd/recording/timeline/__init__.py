"""Connected time, pauses and gaps of one stream, in Zoom's clock. Pure."""
