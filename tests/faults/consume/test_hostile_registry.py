"""A registry that never stops sending: a consumer leaves it after a bounded number of bytes, and installs nothing."""

from __future__ import annotations

import http.client
import itertools
import json
import re
import threading
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from tests.faults.remote.server import Asked, Wire, client, serving
from tests.unit.consume.test_pull import META, PAYLOAD, TYPE, Scene
from tests.unit.engine.world import make_world
from tests.unit.evidence.made import new_signer, policy_of

from shipgraph.consume.channel import read_believed
from shipgraph.consume.install import Installed, install
from shipgraph.consume.memory import SerialMemory
from shipgraph.embedded.serving import serve
from shipgraph.errors import RegistryError, ShipgraphError
from shipgraph.evidence.referrers import ReferrerVerifier
from shipgraph.oci.descriptor import Descriptor
from shipgraph.oci.digest import Digest
from shipgraph.store.content import from_bytes
from shipgraph.store.disk import DiskStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from shipgraph.remote import RemoteStore

pytestmark = pytest.mark.anyio

JUNK = b"x" * (1 << 16)
MOST = 96 << 20
"""Bytes that may be sent before the client hangs up, over all its attempts: bounds, and what sockets hold."""


@dataclass
class Hostile:
    """Hands on what an honest registry answers; what matches ``endless`` is followed by junk for ever."""

    upstream: str
    endless: re.Pattern[str]
    sent: int = 0
    matched: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, wire: Wire, asked: Asked) -> None:
        connection = http.client.HTTPConnection(self.upstream, timeout=10)
        headers = {name: value for name, value in asked.headers.items() if name in ("accept", "authorization")}
        connection.request(asked.method, asked.path, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        if asked.method != "GET" or answer.status != 200 or not self.endless.search(asked.path):
            wire.send_response(answer.status)
            for name, value in [*_kept(answer), ("Content-Length", str(len(body)))]:
                wire.send_header(name, value)
            wire.end_headers()
            if asked.method != "HEAD":
                wire.wfile.write(body)
            return
        self.matched.add(asked.path)
        wire.send_response(200)
        for name, value in _kept(answer):
            wire.send_header(name, value)
        wire.end_headers()
        wire.close_connection = True
        wire.wfile.write(body)
        while True:
            wire.wfile.write(JUNK)
            with self.lock:
                self.sent += len(JUNK)
                if self.sent > 2 * MOST:
                    return  # the test has failed; let it say so


def _kept(answer: http.client.HTTPResponse) -> list[tuple[str, str]]:
    names = ("Content-Type", "Docker-Content-Digest", "OCI-Filters-Applied", "Link")
    return [(name, value) for name in names if (value := answer.getheader(name))]


@asynccontextmanager
async def consumer(scene: Scene, endless: str) -> AsyncIterator[tuple[Hostile, RemoteStore]]:
    """A client of the scene's registry, through somebody hostile."""
    async with serve(await _on_disk(scene)) as address:
        hostile = Hostile(address, re.compile(endless))
        with serving(hostile) as server:
            remote, transport = client(server, attempts=2)
            try:
                yield hostile, remote
            finally:
                transport.close()


async def _on_disk(scene: Scene) -> DiskStore:
    """The scene's registry in a folder, from where it can be served."""
    memory, disk = scene.world.store, DiskStore(scene.place / "registry", durable=False)
    for (repository, digest), content in memory._blobs.items():
        await disk.push_blob(
            repository, Descriptor("application/octet-stream", digest, len(content)), from_bytes(content)
        )
    for (repository, _), manifest in memory._manifests.items():
        await disk.push_manifest(repository, manifest)
    for repository in {repository for repository, _ in memory._manifests}:
        for tag in await memory.tags(repository):
            found = await memory.resolve(repository, tag)
            assert found is not None
            await disk.tag(repository, tag, await memory.manifest(repository, found.digest))
    return disk


async def pull(scene: Scene, store: RemoteStore) -> Installed:
    """What `shipgraph pull` does."""
    believed = await read_believed(
        store,
        "dev",
        repository=META,
        artifact_type=TYPE,
        verifier=ReferrerVerifier(store, policy_of(scene.signer)),
        memory=SerialMemory(scene.place / "seen.json", "registry.example"),
        now=scene.now,
        lag=0.0,
        sleep=_no_sleep,
    )
    return await install(
        store,
        believed,
        scene.place / "installed",
        payload_repository=PAYLOAD,
        verifier=ReferrerVerifier(store, policy_of(scene.signer)),
        required=("gate", "provenance"),
    )


async def _no_sleep(seconds: float) -> None:
    pass


@pytest.fixture
async def scene(tmp_path: Path) -> Scene:
    found = Scene(make_world(tmp_path / "demo"), tmp_path / "consumer", new_signer())
    found.place.mkdir()
    await found.publish()
    return found


async def test_an_honest_registry_behind_the_same_server_is_pulled_from(scene: Scene) -> None:
    async with consumer(scene, "^$") as (hostile, store):
        assert (await pull(scene, store)).changed
        assert hostile.matched == set()
    assert scene.current()


@pytest.mark.parametrize(
    "endless",
    [
        "/demo-metadata/manifests/sha256:", "/demo-metadata/blobs/", "/demo-metadata/referrers/",
        "/demo-payload/manifests/sha256:", "/demo-payload/blobs/", "/demo-payload/referrers/", "/",
    ],
)  # fmt: skip
async def test_an_endless_answer_is_left_and_nothing_is_installed(scene: Scene, endless: str) -> None:
    async with consumer(scene, endless) as (hostile, store):
        with pytest.raises(ShipgraphError):
            await pull(scene, store)
        assert hostile.matched, "the answer in question was never asked for"
        assert hostile.sent < MOST
    installed = scene.place / "installed"
    assert not _exists(installed / "current")
    assert not [place for place in _files(installed) if place.name != ".lock"], "nothing of it is left on the disk"


@pytest.mark.parametrize("each", [500, 0], ids=["full pages", "empty pages"])
async def test_a_list_of_referrers_without_end_is_left(scene: Scene, each: int) -> None:
    pages = itertools.count()

    def answer(wire: Wire, asked: Asked) -> None:
        number = next(pages)
        entry = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 2}
        entries = [{**entry, "digest": f"sha256:{number * 1000 + place:064x}"} for place in range(each)]
        index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries}
        if number > 1000:
            wire.reply(500)  # the test has failed; let it say so
            return
        more = f'<{asked.path.partition("?")[0]}?page={number}>; rel="next"'
        wire.reply(200, json.dumps(index).encode(), Content_Type=str(index["mediaType"]), Link=more)

    with serving(answer) as server:
        remote, transport = client(server, attempts=1)
        try:
            with pytest.raises(RegistryError, match="no end"):
                await remote.referrers(META, Digest.of(b"anything"))
        finally:
            transport.close()
    assert next(pages) <= 501


def _exists(place: Path) -> bool:
    return place.exists() or place.is_symlink()


def _files(folder: Path) -> list[Path]:
    return [place for place in folder.rglob("*") if place.is_file()]
