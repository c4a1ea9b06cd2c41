"""The real parts work on this machine, and do what README.md says that they do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .buildkit import BuildFailed, Buildx, buildkitd
from .busybox import Layout, busybox_layout
from .clients import ClientFailed, crane, oras, regctl, skopeo
from .servers import ServerFailed, server

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.real

# The second step writes what it was lent into the image: only so that a test can look for it.
DOCKERFILE = """\
ARG BASE=scratch
FROM ${BASE}
RUN uname -m > /machine
RUN --mount=type=secret,id=ca,target=/lent/ca.crt if [ -e /lent/ca.crt ]; then wc -c < /lent/ca.crt > /size; fi
"""


def load(layout: Layout, name: str) -> None:
    skopeo("copy", "--quiet", "--all", "--preserve-digests", layout.skopeo, f"docker://{name}")


def build(buildx: Buildx, context: Path, base: str, repository: str, *arguments: str) -> str:
    """Build DOCKERFILE, push it by digest only, and return the digest."""
    context.mkdir()
    (context / "Dockerfile").write_text(DOCKERFILE)
    metadata = context.with_suffix(".json")
    output = f"type=image,name={repository},push-by-digest=true,push=true,rewrite-timestamp=true"
    buildx.build(
        *("--provenance=false", "--sbom=false"),
        *("--build-arg", f"BASE={base}", "--build-arg", "SOURCE_DATE_EPOCH=1700000000"),
        *("--output", output, "--metadata-file", str(metadata)),
        *arguments,
        str(context),
    )
    return str(json.loads(metadata.read_text())["containerimage.digest"])


def files(image: str, archive: Path) -> dict[str, bytes]:
    """The regular files of an image, by path."""
    crane("export", image, str(archive))
    with tarfile.open(archive) as opened:
        contents = ((member.name, opened.extractfile(member)) for member in opened if member.isfile())
        return {name: content.read() for name, content in contents if content is not None}


def test_the_layout_is_the_same_twice(busybox: Layout, tmp_path: Path) -> None:
    again = busybox_layout(tmp_path)
    assert (again.index, again.manifests) == (busybox.index, busybox.manifests)


def test_four_clients_agree_on_the_digest(registry: str, busybox: Layout) -> None:
    name = f"{registry}/busybox:1"
    load(busybox, name)
    assert crane("digest", name).strip() == busybox.index
    assert regctl("manifest", "head", name).strip() == busybox.index
    assert json.loads(oras("manifest", "fetch", "--descriptor", name))["digest"] == busybox.index
    raw = json.loads(skopeo("inspect", "--raw", f"docker://{name}"))
    assert [child["digest"] for child in raw["manifests"]] == list(busybox.manifests.values())
    assert crane("digest", "--platform", "linux/arm64", name).strip() == busybox.manifests["arm64"]


def test_a_client_that_fails_says_why(registry: str) -> None:
    with pytest.raises(ClientFailed, match=r"MANIFEST_UNKNOWN|NAME_UNKNOWN"):
        crane("manifest", f"{registry}/nothing:1")


@pytest.mark.parametrize(("architecture", "machine"), [("amd64", "x86_64"), ("arm64", "aarch64")])
def test_buildkit_builds_the_same_bytes_twice(
    registry: str, busybox: Layout, buildx: Buildx, tmp_path: Path, architecture: str, machine: str
) -> None:
    load(busybox, f"{registry}/busybox:1")
    base, repository = f"{registry}/busybox@{busybox.index}", f"{registry}/child-{architecture}"
    again = ("--no-cache", "--platform", f"linux/{architecture}")
    digest = build(buildx, tmp_path / "one", base, repository, *again)
    child = f"{repository}@{digest}"
    assert json.loads(crane("config", child))["architecture"] == architecture
    assert files(child, tmp_path / "child.tar")["machine"] == f"{machine}\n".encode()
    with pytest.raises(ClientFailed, match="NAME_UNKNOWN"):
        crane("ls", repository)  # pushed by digest: no tag, and to these registries no name either

    time.sleep(1.1)  # the clock shows another second
    assert build(buildx, tmp_path / "two", base, repository, *again) == digest


def test_a_secret_reaches_the_step_and_not_the_image(
    registry: str, busybox: Layout, buildx: Buildx, tmp_path: Path
) -> None:
    load(busybox, f"{registry}/busybox:1")
    base, repository = f"{registry}/busybox@{busybox.index}", f"{registry}/lent"
    (tmp_path / "ca.crt").write_bytes(b"x" * 4321)
    secret = ("--secret", f"id=ca,src={tmp_path}/ca.crt")
    lent = build(buildx, tmp_path / "with", base, repository, "--no-cache", *secret)
    cached = build(buildx, tmp_path / "cached", base, repository)
    alone = build(buildx, tmp_path / "without", base, repository, "--no-cache")
    assert cached == lent  # a secret is no part of the cache's key
    contents = files(f"{repository}@{lent}", tmp_path / "lent.tar")
    assert contents.pop("size") == b"4321\n"
    # Not even an empty file where it was mounted:
    assert contents == files(f"{repository}@{alone}", tmp_path / "alone.tar")


def test_another_machine_builds_from_the_registry_cache(
    registry: str, busybox: Layout, buildx: Buildx, tmp_path: Path
) -> None:
    load(busybox, f"{registry}/busybox:1")
    base, repository, cache = f"{registry}/busybox@{busybox.index}", f"{registry}/cached", f"{registry}/cache:1"
    digest = build(buildx, tmp_path / "one", base, repository, "--cache-to", f"type=registry,ref={cache},mode=max")
    with buildkitd(tmp_path / "cold") as address:
        other = Buildx.at(address, tmp_path / "home")
        log = other.build(
            *("--build-arg", f"BASE={base}", "--cache-from", f"type=registry,ref={cache}"),
            *("--output", "type=cacheonly", str(tmp_path / "one")),
        )
        assert log.count("CACHED") >= 2, log
        assert build(other, tmp_path / "two", base, repository, "--cache-from", f"type=registry,ref={cache}") == digest


def test_a_build_that_fails_shows_the_step(registry: str, busybox: Layout, buildx: Buildx, tmp_path: Path) -> None:
    load(busybox, f"{registry}/busybox:1")
    (tmp_path / "Dockerfile").write_text(f"FROM {registry}/busybox:1\nRUN echo the reason; exit 7\n")
    with pytest.raises(BuildFailed, match=r"(?s)the reason.*Dockerfile:2.*exit code: 7"):
        buildx.build("--output", "type=cacheonly", str(tmp_path))


def test_a_step_does_not_outlive_its_buildkitd(busybox: Layout, tmp_path: Path) -> None:
    marker = f"600.{os.getpid()}"
    (tmp_path / "Dockerfile").write_text(f"FROM base\nRUN sleep {marker}\n")
    base = f"base=oci-layout://{busybox.path}:{busybox.tag}"
    with ThreadPoolExecutor() as threads:
        with buildkitd(tmp_path / "buildkit") as address:
            buildx = Buildx.at(address, tmp_path / "home")
            build = threads.submit(buildx.build, "--build-context", base, "--output", "type=cacheonly", str(tmp_path))
            wait_until(lambda: processes(marker) != [] or build.done(), "the step never started")
            assert not build.done(), build.exception()
            assert str(tmp_path) in Path("/proc/mounts").read_text()
        wait_until(lambda: processes(marker) == [], "the step outlived its buildkitd")
        assert isinstance(build.exception(), BuildFailed)
    assert str(tmp_path) not in Path("/proc/mounts").read_text()
    assert not (tmp_path / "buildkit" / "data").exists()


def test_a_server_that_ends_early_shows_its_log(tmp_path: Path) -> None:
    start = server(["sh", "-c", "echo no such luck; exit 3"], log=tmp_path / "log", ready=lambda: False)
    with pytest.raises(ServerFailed, match=r"(?s)ended with 3.*no such luck"), start:
        pass


def test_a_server_that_does_not_answer_is_stopped(tmp_path: Path) -> None:
    start = server(["sleep", "600"], log=tmp_path / "log", ready=lambda: False, within=0.2)
    with pytest.raises(ServerFailed, match="did not answer within 0 s"), start:
        pass


def test_a_server_dies_with_whoever_started_it(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); from real.servers import server\n"
        "with server(['sleep', '600'], log=Path(sys.argv[2]), ready=lambda: True) as process:\n"
        "    print(process.pid, flush=True); sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", script, str(Path(__file__).parents[1]), str(tmp_path / "log")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        # by then the kernel has been told whose death counts
        wait_until(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n", "the server did not start")
        starter.send_signal(signal.SIGKILL)
    wait_until(lambda: not runs(pid), "the server outlived its starter")


def wait_until(condition: Callable[[], bool], complaint: str, within: float = 10.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.02)


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def processes(argument: str) -> list[str]:
    """Which processes have this argument."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # gone in the meantime
            if argument.encode() in path.read_bytes().split(b"\0"):
                found.append(path.parent.name)
    return found
