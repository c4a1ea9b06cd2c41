"""Foreign clients against GHCR's mode: logging in, pulling as nobody, blobs from elsewhere, and what can't be done."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

import anyio.to_thread
import pytest
from tests.real.busybox import Layout, busybox_layout
from tests.real.clients import ClientFailed, crane, oras, regctl, skopeo

from shipgraph.embedded.ghcr.accounts import Accounts, Workflow
from shipgraph.embedded.ghcr.state import Ghcr
from shipgraph.embedded.serving import serve
from shipgraph.remote import RemoteStore
from shipgraph.store.disk import DiskStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.real

ACCOUNTS = Accounts(
    {"ghs_public": Workflow("acme/app"), "ghs_private": Workflow("acme/hidden")}, {"acme/app": "public"}
)


@pytest.fixture(scope="module")
def busybox(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return busybox_layout(tmp_path_factory.mktemp("busybox"))


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[str]:
    async with serve(DiskStore(tmp_path, durable=False), ghcr=Ghcr(tmp_path / ".shipgraph", ACCOUNTS)) as address:
        yield address


def _push(busybox: Layout, name: str, token: str) -> None:
    skopeo("copy", "--quiet", "--all", f"--dest-creds=any:{token}", busybox.skopeo, f"docker://{name}")


def _clients(registry: str, busybox: Layout, tmp_path: Path) -> None:
    image = f"{registry}/acme/app"
    _push(busybox, f"{image}:v1", "ghs_public")
    # nobody reads what is public, blobs and all
    crane("validate", "--remote", f"{image}:v1")
    assert crane("digest", f"{image}:v1").strip() == busybox.index
    skopeo("copy", "--quiet", "--all", f"docker://{image}:v1", f"oci:{tmp_path / 'skopeo'}:v1")
    oras("copy", "--to-oci-layout", f"{image}:v1", f"{tmp_path / 'oras'}:v1")
    regctl("image", "copy", f"{image}:v1", f"ocidir://{tmp_path / 'regctl'}:v1")
    for client in ("skopeo", "oras", "regctl"):
        index = json.loads((tmp_path / client / "index.json").read_text())
        assert index["manifests"][0]["digest"] == busybox.index
    # and nobody writes
    for write in (
        partial(crane, "tag", f"{image}:v1", "v2"),
        partial(oras, "tag", f"{image}:v1", "v2"),
        partial(regctl, "image", "copy", f"{image}:v1", f"{image}:v2"),
    ):
        with pytest.raises(ClientFailed):
            write()

    crane("auth", "login", registry, "--username", "any", "--password", "ghs_public")  # the others read it too
    crane("tag", f"{image}:v1", "crane")
    oras("tag", f"{image}:v1", "oras")
    regctl("image", "copy", f"{image}:v1", f"{image}:regctl")
    skopeo("copy", "--quiet", "--all", f"docker://{image}:v1", f"docker://{image}:skopeo")
    assert set(crane("ls", image).split()) == {"v1", "crane", "oras", "regctl", "skopeo"}
    (tmp_path / "note.txt").write_text("a note")
    oras(
        "attach",
        f"{image}:v1",
        "--artifact-type",
        "text/vnd.note",
        "--disable-path-validation",
        f"{tmp_path / 'note.txt'}",
    )
    (found,) = json.loads(oras("discover", "--format", "json", f"{image}:v1"))["referrers"]
    assert found["artifactType"] == "text/vnd.note"
    assert busybox.index.replace(":", "-") in crane("ls", image).split(), "the fallback tag stands in for the API"
    for delete in (
        partial(crane, "delete", f"{image}@{busybox.index}"),
        partial(regctl, "tag", "delete", f"{image}:oras"),
        partial(oras, "manifest", "delete", "--force", f"{image}:oras"),
    ):
        with pytest.raises(ClientFailed, match=r"405|UNSUPPORTED|unsupported"):
            delete()


async def test_clients(registry: str, busybox: Layout, tmp_path: Path) -> None:
    await anyio.to_thread.run_sync(_clients, registry, busybox, tmp_path)
    async with RemoteStore(registry, credentials=None) as store:
        assert len(await store.tags("acme/app")) >= 6


def _private(registry: str, busybox: Layout) -> None:
    image = f"{registry}/acme/hidden"
    _push(busybox, f"{image}:v1", "ghs_private")
    with pytest.raises(ClientFailed, match=r"UNAUTHORIZED|authentication required"):
        crane("digest", f"{image}:v1")
    seen = skopeo("inspect", "--creds=any:ghs_private", "--raw", f"docker://{image}:v1")
    assert json.loads(seen)["mediaType"] == "application/vnd.oci.image.index.v1+json"
    with pytest.raises(ClientFailed, match="403"):
        _push(busybox, f"{registry}/acme/hidden:v2", "ghs_public")


async def test_private_packages(registry: str, busybox: Layout) -> None:
    await anyio.to_thread.run_sync(_private, registry, busybox)
