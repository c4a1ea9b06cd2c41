"""Orders the stages, bounds concurrency, and knows where things are on this machine. Stages never call each other."""
