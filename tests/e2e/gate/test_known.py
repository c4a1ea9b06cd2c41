"""The keys that the gate takes for harmless are, each of them, in GnuTLS's public source, and in no other place."""

from __future__ import annotations

import fcntl
import re
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest
from tests.real.apt import downloaded
from tests.real.tools import cache, debian

from shipgraph.scan.finding import Finding
from shipgraph.scan.known import KNOWN
from shipgraph.scan.severity import Severity

if TYPE_CHECKING:
    from pathlib import Path

    from shipgraph.scan.kingfisher import Kingfisher

pytestmark = pytest.mark.real

SELF_TESTS = "lib/crypto-selftests-pk.c"


def fetched(name: str, *command: str, architecture: str = "amd64") -> Path:
    """A file of Debian's archive, out of the cache if it is there."""
    folder = cache() / "gnutls"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / name
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            with downloaded(*command, architecture=architecture) as files:
                (found,) = [*files.glob("libgnutls30_*.deb"), *files.glob("gnutls28_*.orig.tar.xz")]
                target.with_suffix(".unfinished").write_bytes(found.read_bytes())
            target.with_suffix(".unfinished").replace(target)
    return target


def private_keys(source: str) -> list[str]:
    """The PEM private keys of a C file, whose string literals follow one another."""
    literals = re.findall(r'(?:"(?:[^"\\]|\\.)*"\s*)+', source)
    texts = ["".join(re.findall(r'"((?:[^"\\]|\\.)*)"', one)).replace(r"\n", "\n") for one in literals]
    return [text for text in texts if text.startswith("-----BEGIN") and "PRIVATE KEY" in text]


def test_every_known_key_is_a_self_test_key_of_the_public_source(kingfisher: Kingfisher) -> None:
    with tarfile.open(fetched("source.tar.xz", "source", "--download-only", "gnutls28")) as archive:
        (member,) = [one for one in archive.getmembers() if one.name.endswith(f"/{SELF_TESTS}")]
        file = archive.extractfile(member)
        assert file is not None
        keys = private_keys(file.read().decode())
    found = [Finding.of(hit, "x") for key in keys for hit in kingfisher.scan("x", key.encode())]
    assert len(found) == len(keys) == 10
    assert {finding.fingerprint for finding in found} == set(KNOWN)


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_debians_library_holds_these_keys_and_no_other(
    architecture: str, kingfisher: Kingfisher, tmp_path: Path
) -> None:
    package = fetched(f"{architecture}.deb", "download", f"libgnutls30:{architecture}", architecture=architecture)
    subprocess.run([debian("dpkg-deb"), "-x", package, tmp_path], check=True)
    (library,) = [one for one in tmp_path.rglob("libgnutls.so.30.*") if not one.is_symlink()]
    found = [Finding.of(hit, library.name) for hit in kingfisher.scan(library.name, library.read_bytes())]
    assert {finding.fingerprint for finding in found} == set(KNOWN)
    assert {finding.severity for finding in found} == {Severity.LOW}


def test_another_key_in_the_same_library_is_still_found(kingfisher: Kingfisher) -> None:
    from tests.unit.scan.planted import planted

    key = next(one for one in planted() if one.kind == "rsa-key").content
    (hit,) = kingfisher.scan("libgnutls.so.30.34.3", key)
    assert Finding.of(hit, "libgnutls.so.30.34.3").severity.fails
