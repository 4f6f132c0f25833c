"""The state that every part of a simulated Zoom shares: settings, clock, crowd and exact record."""
