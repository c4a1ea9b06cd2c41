"""A release with a leak: refused before anything of it is published, and the secret is in nothing that was written."""

from __future__ import annotations

import gzip
import shutil
from typing import TYPE_CHECKING

import pytest
from tests.e2e.release.conftest import Demo, tags_of, unmount
from tests.real.busybox import busybox_tar
from tests.real.registries import distribution_v3
from tests.unit.scan.planted import planted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.real

FILE = """\
[project]
name = "demo"
platforms = ["linux/amd64", "linux/arm64"]
namespace = "acme"

[images.clean]
context = "docker/clean"
base = "scratch"

[images.leaky]
context = "docker/leaky"
base = "scratch"

[payload]
files = ["payload/**"]

[evidence]
require = ["gate", "provenance"]

[build]
builder = "buildah"

[transaction]
gap = 0.1
settle = 0.4
"""
SECRETS = {one.kind: one for one in planted(23)}
TOKEN = SECRETS["github"]
LEAK = "ADD token-${TARGETARCH} /root/.git-credentials\n"


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    """Two images on two platforms; what is leaky about one of them, each test says."""
    demo = Demo(tmp_path / "demo")
    demo.write("shipgraph.toml", FILE)
    for key in ("clean", "leaky"):
        demo.write(f"docker/{key}/Dockerfile", "FROM scratch\nARG TARGETARCH\nADD root-${TARGETARCH}.tar /\n")
        for architecture in ("amd64", "arm64"):
            shutil.copy(busybox_tar(architecture), demo.folder / "docker" / key / f"root-{architecture}.tar")
    demo.write("payload/readme.txt", "read me\n")
    demo.git("init", "--quiet", "--initial-branch=main")
    yield demo
    unmount(tmp_path)


def leak(demo: Demo, *, amd64: bool) -> None:
    """A token on arm64, and on amd64 if it is asked for; a later layer deletes it."""
    for architecture, has in (("amd64", amd64), ("arm64", True)):
        content = TOKEN.content.decode() if has else "nothing\n"
        demo.write(f"docker/leaky/token-{architecture}", content)
    dockerfile = (demo.folder / "docker/leaky/Dockerfile").read_text()
    demo.write("docker/leaky/Dockerfile", f"{dockerfile}{LEAK}")


def holders(folder: Path, text: str) -> list[str]:
    """The files below a folder that hold a text, gzip undone; not what this machine's own builds are made of."""
    found = []
    for path in folder.rglob("*"):
        own = path.relative_to(folder).parts[0] in ("builder", "payload")
        if path.is_file() and not path.is_symlink() and not own:
            content = path.read_bytes()
            plain = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else b""
            if text.encode() in content or text.encode() in plain:
                found.append(str(path.relative_to(folder)))
    return found


def check_unseen(demo: Demo, printed: str, secret: str) -> None:
    """Nobody reads the secret in what was printed, in logs, in what the gate remembers, or in the registry."""
    assert secret not in printed
    assert holders(demo.folder / ".shipgraph", secret) == []


@pytest.mark.parametrize("amd64", [True, False], ids=["both platforms", "arm64 alone"])
def test_nothing_of_a_leaking_image_is_published(demo: Demo, amd64: bool) -> None:
    leak(demo, amd64=amd64)
    demo.commit()
    process = demo.start("rehearse", "--debug")
    out, err = process.communicate(timeout=180)
    assert process.returncode == 3, err
    assert "the secret gate refuses" in err
    assert "root/.git-credentials" in err
    assert "Traceback" in err, "with all that --debug says"
    check_unseen(demo, out + err, TOKEN.secret)
    if amd64:
        assert not list((demo.root / "acme").glob("demo-leaky/blobs/sha256/*")), "not one blob of it"
    tags = tags_of(demo.root)
    assert not [tag for tag in tags if tag.startswith(("demo-leaky:", "demo-payload:")) or tag.endswith(":dev")]

    # mended, the same project is released
    shutil.copy(demo.folder / "docker/clean/Dockerfile", demo.folder / "docker/leaky/Dockerfile")
    demo.commit()
    assert {image["key"] for image in demo.json("rehearse")["images"]} == {"clean", "leaky"}


def test_a_foreign_registry_sees_no_byte_of_it(demo: Demo, tmp_path: Path) -> None:
    leak(demo, amd64=True)
    demo.commit()
    folder = tmp_path / "distribution"
    with distribution_v3(folder) as address:
        done = demo.run("release", "--registry", f"{address}/acme", "--channel", "dev", code=3)
    check_unseen(demo, done.out + done.err, TOKEN.secret)
    assert holders(folder, TOKEN.secret) == []
    log = (folder / "registry.log").read_text()
    for method in ("POST", "PUT", "PATCH"):
        assert f"{method} /v2/acme/demo-leaky/" not in log


def test_a_leak_in_the_payload_refuses_too(demo: Demo) -> None:
    secret = SECRETS["stripe"]
    demo.write("payload/billing.py", secret.content.decode())
    demo.commit()
    done = demo.run("rehearse", code=3)
    assert "payload" in done.err
    assert "billing.py" in done.err
    check_unseen(demo, done.out + done.err, secret.secret)
    assert not list((demo.root / "acme").glob("demo-payload/blobs/sha256/*"))
