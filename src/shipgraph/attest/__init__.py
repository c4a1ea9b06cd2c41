"""Statements about what was built, tested and gated, signed and attached to what they are about."""
