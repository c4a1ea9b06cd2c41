"""A client of OCI registries over HTTP (distribution specification 1.1) that bears the habits of GHCR."""

from shipgraph.remote.credentials import Credentials, anonymous, docker_credentials, find_credentials
from shipgraph.remote.retry import RetryPolicy
from shipgraph.remote.store import RemoteStore
from shipgraph.remote.transport import PooledTransport, Transport, TransportFailure

__all__ = [
    "Credentials",
    "PooledTransport",
    "RemoteStore",
    "RetryPolicy",
    "Transport",
    "TransportFailure",
    "anonymous",
    "docker_credentials",
    "find_credentials",
]
