"""What GitHub's API doesn't list can't be deleted by it: a fact, and no failure."""

from __future__ import annotations

import pytest

from shipgraph.github.api import GitHubApi
from shipgraph.retain.packages_api import PackagesShelf
from shipgraph.retain.shelf import Kept
from shipgraph.retain.versions import Version
from shipgraph.store.memory import MemoryStore

pytestmark = pytest.mark.anyio


async def test_what_the_registry_has_and_the_api_does_not_list_stays() -> None:
    async with GitHubApi(None, base="http://127.0.0.1:1") as api:
        shelf = PackagesShelf(api, MemoryStore())
        unlisted = Version(repository="acme/app", digest=f"sha256:{'0' * 64}")
        assert await shelf.look(unlisted) == unlisted
        with pytest.raises(Kept) as caught:
            await shelf.delete(unlisted)
    assert "does not list it" in caught.value.detail
