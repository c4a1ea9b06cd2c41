"""GitHub: the Actions event as a trigger."""
