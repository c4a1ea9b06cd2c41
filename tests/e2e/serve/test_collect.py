"""`shipgraph serve --collect`: garbage goes while it serves; what is needed, young, or being looked at stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from tests.real.servers import free_port

from shipgraph.oci.descriptor import Descriptor
from shipgraph.oci.manifest import EMPTY_CONFIG, EMPTY_DESCRIPTOR, build_artifact
from shipgraph.remote import RemoteStore
from shipgraph.store.content import from_bytes
from shipgraph.store.disk import DiskStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROGRAM = "from shipgraph.cli.main import main; main()"
HOUR = 3600.0


@contextmanager
def serving(root: Path, *options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The command as a user runs it; it must end well when it is told to."""
    address = f"127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "serve", "--root", root, "--listen", address, *options],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield address, process
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.communicate()


def told(process: subprocess.Popen[str], beginning: str) -> str:
    """The first line of what it says that begins so."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(beginning):
            return line.strip()
    raise AssertionError(f"it never said {beginning!r}")


async def blob(store: DiskStore, content: bytes, *, age: float) -> Descriptor:
    """A blob that was last asked for so long ago (seconds)."""
    found = Descriptor.of("text/plain", content)
    await store.push_blob("acme/x", found, from_bytes(content))
    then = time.time() - age
    os.utime(path_of(store, found), (then, then))
    return found


def path_of(store: DiskStore, found: Descriptor) -> Path:
    return store.root / "acme" / "x" / "blobs" / "sha256" / found.digest.hex


async def test_old_garbage_goes_and_everything_else_stays_and_is_served(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    await store.push_blob("acme/x", EMPTY_DESCRIPTOR, from_bytes(EMPTY_CONFIG))
    needed = await blob(store, b"needed", age=5 * HOUR)
    manifest = build_artifact("application/vnd.test", [needed])
    await store.tag("acme/x", "v1", manifest)
    for one in (needed, manifest.descriptor, EMPTY_DESCRIPTOR):
        os.utime(path_of(store, one), (0, 0))
    old, young = await blob(store, b"old garbage", age=3 * HOUR), await blob(store, b"young garbage", age=1 * HOUR)

    with serving(tmp_path, "--collect", "--grace", "2") as (address, process):
        assert told(process, "collected") == "collected 1 blobs, 11 B"
        assert not path_of(store, old).exists()
        assert path_of(store, young).exists()
        async with RemoteStore(address, credentials=None) as remote:
            found = await remote.resolve("acme/x", "v1")
            assert found is not None
            assert found.digest == manifest.digest
            assert await remote.has_blob("acme/x", needed.digest)
            assert not await remote.has_blob("acme/x", old.digest)


async def test_without_the_option_nothing_is_collected(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    old = await blob(store, b"old garbage", age=100 * HOUR)
    with serving(tmp_path) as (address, process):
        told(process, "serving")
        async with RemoteStore(address, credentials=None) as remote:
            assert await remote.has_blob("acme/x", old.digest)


@pytest.mark.parametrize("hours", ["0", "0.5", "-1", "nan", "soon"])
def test_a_grace_that_would_take_what_is_being_pushed_is_refused(hours: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, "serve", "--root", str(tmp_path), "--listen", "127.0.0.1:0"]
    done = subprocess.run([*command, "--collect", "--grace", hours], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "--grace" in done.stderr
