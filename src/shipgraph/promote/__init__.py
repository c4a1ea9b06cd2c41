"""The channel transaction: all moving tags of a release change together, or none does."""
