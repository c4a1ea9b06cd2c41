"""For people who write their own store: what every implementation of shipgraph's protocols must do, as checks."""
