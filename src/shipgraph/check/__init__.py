"""What a published channel is, and everything that is broken about it, not only the first thing."""
