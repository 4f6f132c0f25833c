"""The state shared by all parts of a simulated Zoom: settings, clock, crowd and exact record."""
