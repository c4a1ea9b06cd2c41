"""shipgraph ships a graph of container images, a payload and channel metadata to an OCI registry as one release."""

__version__ = "0.1.0"
