"""Proof that a release can be pulled by anyone."""
