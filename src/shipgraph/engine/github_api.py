"""Which API of GitHub's stands beside a registry or a run, and with which token it is asked."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from shipgraph.oci.reference import is_loopback

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from shipgraph.github.api import GitHubApi
    from shipgraph.remote.retry import RetryPolicy


@asynccontextmanager
async def packages_api(host: str, *, retries: RetryPolicy | None = None) -> AsyncIterator[GitHubApi]:
    """The API that knows a registry's packages, asked with a token that belongs to it.

    A registry on loopback has its own beside it (``serve --ghcr``), and is logged in to with the registry's own
    credentials; no other token leaves for it.

    Raises:
        ConfigurationError: docker's configuration can't be read.
    """
    from shipgraph.github.api import GitHubApi, find_base, find_token
    from shipgraph.remote.credentials import find_credentials

    if is_loopback(host):
        found = await find_credentials(host)
        base, token = f"http://{host}/api/v3", found.password if found is not None and found.password else None
    else:
        base, token = find_base(), find_token()
    async with GitHubApi(token, base=base, retries=retries) as api:
        yield api


@asynccontextmanager
async def actions_api(*tokens: str, retries: RetryPolicy | None = None) -> AsyncIterator[GitHubApi]:
    """The API that knows the workflow's runs.

    Args:
        tokens: names of the environment's variables that may hold the token, the best first.

    Raises:
        ConfigurationError: ``GITHUB_API_URL`` is no address.
    """
    from shipgraph.github.api import GitHubApi, find_base

    async with GitHubApi(first_of(tokens), base=find_base(), retries=retries) as api:
        yield api


def first_of(names: Sequence[str]) -> str | None:
    """The first of the environment's variables that says something."""
    return next((text for name in names if (text := os.environ.get(name, "").strip())), None)


def source_repository(source: str) -> str | None:
    """``OWNER/NAME`` of a repository's https address; None where it is none of a forge's."""
    parts = source.removeprefix("https://").split("/")
    return "/".join(parts[1:]) if source.startswith("https://") and len(parts) == 3 and all(parts) else None
