"""The project: ``shipgraph.toml`` as values, its image graph and channel rules, git, and what one release is."""
