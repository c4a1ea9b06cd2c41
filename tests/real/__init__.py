"""Real registries, a real BuildKit and foreign clients, started and run by tests. Facts: README.md in this folder."""
