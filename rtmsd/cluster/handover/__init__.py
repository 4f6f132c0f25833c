"""The hand-over of streams between members that live: a drain, or a move. Nothing is missed: Zoom buffers meanwhile."""
