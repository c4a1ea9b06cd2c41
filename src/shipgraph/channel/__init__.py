"""What a channel is: its metadata (the commit point) and the journal of decisions about it. Values and codecs only."""
