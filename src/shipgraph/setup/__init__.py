"""What is done to a project's files rather than to a release: pinning its bases."""
