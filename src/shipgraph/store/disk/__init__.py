"""A store on disk: one OCI image layout for each repository."""

from shipgraph.store.disk.store import DiskStore

__all__ = ["DiskStore"]
