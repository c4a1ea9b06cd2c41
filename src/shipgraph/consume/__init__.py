"""The consumer's side: a channel is resolved, verified, and its payload installed."""
