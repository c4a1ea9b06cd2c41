"""Stores around stores: each adds one habit and speaks the same protocols."""
