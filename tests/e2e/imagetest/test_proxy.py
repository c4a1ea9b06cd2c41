"""The flagship's proxy: its tests pass on the real image, and what may be broken about it makes them fail."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.e2e.containai.test_containai import NATIVE, clone
from tests.e2e.release.conftest import Demo, unmount
from tests.unit.scan.images import layer

from shipgraph.oci.descriptor import Descriptor
from shipgraph.oci.digest import Digest
from shipgraph.oci.manifest import ImageIndex, ImageManifest, build_index, encode_json, parse_manifest
from shipgraph.store.content import from_bytes, read_blob
from shipgraph.store.disk import DiskStore

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.containai

REHEARSED = Path(__file__).parents[3] / "containai" / ".shipgraph" / "registry"
SECCOMP, APPARMOR = "docker/profiles/seccomp-containai-proxy.json", "docker/profiles/apparmor-containai-proxy"
STARTS, PARSES, VERSION = "starts and answers a request", "the configuration parses", "squid -v"
RULES = "docker/proxy/rules.conf"


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The flagship with its proxy alone, built; what a rehearsal has built before is taken from it."""
    folder = tmp_path_factory.mktemp("proxy")
    demo = Demo(clone(folder / "source"))
    text = (demo.folder / "shipgraph.toml").read_text()
    head, _, rest = text.partition("[images.base]")
    table = re.search(r"^\[images\.proxy\]\n.*?(?=^\[(?!\[images\.proxy\.))", rest, re.DOTALL | re.MULTILINE)
    assert table is not None
    head = re.sub(r"^platforms = .*$", f'platforms = ["{NATIVE}"]', head, flags=re.MULTILINE)
    quick = table[0].replace(f'name = "{STARTS}"', f'name = "{STARTS}"\ntimeout = "20s"')
    demo.write("shipgraph.toml", f"{head}{quick}\n[evidence]\nrequire = []\n")
    demo.commit()
    if REHEARSED.is_dir():
        demo.root.parent.mkdir(exist_ok=True)
        subprocess.run(["cp", "--archive", "--link", REHEARSED, demo.root], check=True)
    try:
        demo.run("build", "proxy", "--root", demo.root, timeout=1200)
        yield demo
    finally:
        unmount(folder)


@pytest.fixture
def copied(proxy: Demo, tmp_path: Path) -> Demo:
    """A project that a test may break."""
    ignored = shutil.ignore_patterns("registry", "builder", "jobs", "tests")
    shutil.copytree(proxy.folder.parent, tmp_path / "source", symlinks=True, ignore=ignored)
    demo = Demo(tmp_path / "source" / "containai")
    shutil.copytree(proxy.root, demo.root, copy_function=_link)
    return demo


def _link(source: str, target: str) -> None:
    """Blobs never change; what does change is replaced, and not written to."""
    Path(target).hardlink_to(source)


def outcomes_of(demo: Demo, *, code: int) -> dict[str, dict[str, Any]]:
    """What became of each test."""
    document = demo.json("test", "--root", demo.root, "--engine", "runc", "--again", code=code)
    (image,) = document["images"]
    return {result["name"]: result for result in image["tests"]}


def failed(found: dict[str, dict[str, Any]]) -> set[str]:
    return {name for name, result in found.items() if result["outcome"] == "FAILED"}


def test_the_shipped_image_passes_under_its_profiles(copied: Demo) -> None:
    found = outcomes_of(copied, code=0)
    assert found.keys() == {VERSION, PARSES, STARTS}
    for result in found.values():
        assert result["seccomp"] == "enforced"
        assert (result["outcome"], result["apparmor"]) in (("WARNED", "syntax-only"), ("PASSED", "enforced"))
    assert "Squid Cache: Version" in Path(found[VERSION]["log"]).read_text()


@pytest.mark.parametrize(
    ("call", "becomes", "expected"),
    [
        ("arch_prctl", None, {VERSION, PARSES, STARTS}),
        ("arch_prctl", "arch_prtcl", {VERSION, PARSES, STARTS}),
        ("listen", None, {STARTS}),
    ],
    ids=["without arch_prctl", "arch_prctl misspelt", "without listen"],
)
def test_a_seccomp_profile_that_lacks_a_call_refuses(
    copied: Demo, call: str, becomes: str | None, expected: set[str]
) -> None:
    profile = json.loads((copied.folder / SECCOMP).read_text())
    for rule in profile["syscalls"]:
        rule["names"] = [name for name in (becomes if name == call else name for name in rule["names"]) if name]
    profile["syscalls"] = [rule for rule in profile["syscalls"] if rule["names"]]
    copied.write(SECCOMP, json.dumps(profile))
    found = outcomes_of(copied, code=3)
    assert failed(found) == expected, found


def test_an_apparmor_profile_that_does_not_parse_refuses(copied: Demo) -> None:
    copied.edit(APPARMOR, "}", "")
    found = outcomes_of(copied, code=3)
    assert failed(found) == {VERSION, PARSES, STARTS}
    assert "does not parse" in found[VERSION]["reason"]


@pytest.mark.parametrize(
    "error", ["http_acces allow allowed_domains", "acl broken no_such_type x", "http_access maybe all"]
)
def test_a_squid_configuration_with_an_error_refuses(copied: Demo, error: str) -> None:
    tag = f"sha-{copied.git('rev-parse', 'HEAD')}"
    revisions = [f"{tag}-r{number}" for number in range(9, 1, -1)]
    rules = f"{(copied.folder / RULES).read_text()}{error}\n"
    (place,) = copied.root.glob("*/containai-proxy")
    repository = str(place.relative_to(copied.root))
    asyncio.run(_add_file(copied.root, repository, [*revisions, tag], "etc/squid/rules.conf", rules.encode()))
    found = outcomes_of(copied, code=3)
    assert failed(found) == {PARSES, STARTS}
    assert error.split()[1] in Path(found[PARSES]["log"]).read_text()


async def _add_file(root: Path, repository: str, tags: list[str], path: str, content: bytes) -> None:
    """Put one more layer, with one file, on the image of the first of the tags that is there."""
    store = DiskStore(root)
    for tag in tags:
        found = await store.resolve(repository, tag)
        if found is not None:
            break
    else:
        raise AssertionError("the proxy was not built")
    index = await store.manifest(repository, found.digest)
    assert isinstance(index, ImageIndex)
    (child,) = index.manifests
    image = await store.manifest(repository, child.digest)
    assert isinstance(image, ImageManifest)
    more = layer({path: content})
    config = json.loads(await read_blob(store, repository, image.config))
    config["rootfs"]["diff_ids"].append(more.diff_id)
    raw = encode_json(config)
    document = json.loads(image.raw)
    document["config"] = Descriptor.of(image.config.media_type, raw).to_json()
    document["layers"].append(more.descriptor.to_json())
    changed = parse_manifest(encode_json(document))
    assert isinstance(changed, ImageManifest)
    await store.push_blob(repository, changed.config, from_bytes(raw))
    await store.push_blob(repository, more.descriptor, from_bytes(more.content))
    await store.push_manifest(repository, changed)
    entry = replace(child, digest=Digest.of(changed.raw), size=len(changed.raw))
    top = build_index([entry], annotations=index.annotations)
    await store.push_manifest(repository, top)
    await store.tag(repository, tag, top)
