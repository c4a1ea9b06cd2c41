"""Retention: what a registry keeps because something reaches it, the plan of what goes, and its undoing."""
