"""What builders take from the machine, and how their ends are told."""

from __future__ import annotations

import errno
import gzip
import io
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from shipgraph.build.archive import _mirror
from shipgraph.build.buildah import _flags as buildah_flags
from shipgraph.build.buildah_storage import registries_conf
from shipgraph.build.builder import BaseImage, BuildRequest, Cache
from shipgraph.build.buildx import _flags as buildx_flags
from shipgraph.build.emulation import can_run, native_platform
from shipgraph.build.failures import builder_failures
from shipgraph.build.rootfs import pack_layer
from shipgraph.build.secrets import declared_secrets, default_secrets, redactions
from shipgraph.errors import BuildFailed, DiskFull, ProcessFailed, ToolMissing
from shipgraph.oci.digest import Digest
from shipgraph.oci.platform import Platform

if TYPE_CHECKING:
    from pathlib import Path

DIGEST = Digest("sha256", "1" * 64)


def request(tmp_path: Path, **more: Any) -> BuildRequest:
    settings: dict[str, Any] = {
        "image": "tool",
        "platform": Platform("linux", "amd64"),
        "context": tmp_path,
        "dockerfile": tmp_path / "Dockerfile",
        "base": BaseImage("base", "acme/base", DIGEST),
        "registry": "127.0.0.1:5000",
        "repository": "acme/tool",
        "epoch": 1,
        "log": tmp_path / "log",
    }
    return BuildRequest(**{**settings, **more})


def test_offered_secrets(tmp_path: Path) -> None:
    bundle, npmrc = tmp_path / "ca.pem", tmp_path / ".npmrc"
    bundle.touch()
    npmrc.write_text("registry=https://npm.example.com/\n//npm.example.com/:_authToken=npm_0123456789\n")
    offered = default_secrets({"SSL_CERT_FILE": str(bundle)}, tmp_path)
    assert offered == {"ca": bundle, "npmrc": npmrc}
    named = tmp_path / "other"
    named.touch()
    assert default_secrets({"NPM_CONFIG_USERCONFIG": str(named)}, tmp_path)["npmrc"] == named
    assert "npmrc" not in default_secrets({}, tmp_path / "nobody")
    assert declared_secrets(["ca", "absent"], offered) == {"ca": bundle}
    hidden = redactions(offered)
    assert "npm_0123456789" in hidden
    assert hidden == tuple(sorted(hidden, key=len, reverse=True))
    assert redactions({"ca": npmrc, "gone": tmp_path / "gone"}) == ()


def test_secrets_of_a_folder_are_offered_by_name_and_empty_ones_are_not(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hunter2hunter2")
    (tmp_path / "npmrc").write_text("//registry/:_authToken=x")
    (tmp_path / "missing").write_text("")
    offered = default_secrets({"SHIPGRAPH_SECRETS": str(tmp_path)}, tmp_path / "nobody")
    assert offered["token"] == tmp_path / "token"
    assert offered["npmrc"] == tmp_path / "npmrc"
    assert "missing" not in offered
    assert "token" not in default_secrets({"SHIPGRAPH_SECRETS": str(tmp_path / "nowhere")}, tmp_path / "nobody")


def test_ends_of_builders(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(BuildFailed, match="it broke") as caught, builder_failures("x failed", log=log):
        raise ProcessFailed("buildah ended with status 1", status=1, tail="one\nit broke")
    assert caught.value.log == str(log)
    assert str(log) in caught.value.hint
    with pytest.raises(ToolMissing, match="emulator"), builder_failures("x failed", log=log):
        raise ProcessFailed("y", tail="/bin/sh: exec /bin/sh: Exec format error")
    full: list[BaseException] = [
        ProcessFailed("y", tail="write /x: no space left on device\nError: exit status 1"),
        OSError(errno.ENOSPC, "No space left on device"),
        BaseExceptionGroup("group", [OSError(errno.ENOSPC, "full")]),
    ]
    for error in full:
        with pytest.raises(DiskFull), builder_failures("x failed", log=log):
            raise error
    with pytest.raises(OSError, match="denied"), builder_failures("x failed", log=log):
        raise OSError(errno.EACCES, "denied")
    with pytest.raises(ExceptionGroup), builder_failures("x failed", log=log):
        raise ExceptionGroup("group", [ValueError()])


def test_emulation(tmp_path: Path) -> None:
    assert can_run(native_platform(), binfmt=tmp_path)
    foreign = Platform("linux", "s390x")
    assert not can_run(foreign, binfmt=tmp_path)
    entry = tmp_path / "qemu-s390x"
    entry.write_text("enabled\ninterpreter /usr/bin/qemu-s390x-static\nflags: \n")
    assert not can_run(foreign, binfmt=tmp_path)
    entry.write_text("enabled\ninterpreter /usr/bin/qemu-s390x-static\nflags: OCF\n")
    assert can_run(foreign, binfmt=tmp_path)
    entry.write_text("disabled\ninterpreter /usr/bin/qemu-s390x-static\nflags: OCF\n")
    assert not can_run(foreign, binfmt=tmp_path)


def test_buildah_flags(tmp_path: Path) -> None:
    cache = Cache("registry", "127.0.0.1:5000/acme/cache", write=False)
    flags = buildah_flags(request(tmp_path, caches=(cache, Cache("gha", "scope"), Cache("local", "/x"))))
    assert "--tls-verify=false" not in flags
    assert flags[flags.index("--build-arg") + 1] == f"BASE_IMAGE=shipgraph.invalid/base@{DIGEST}"
    assert "--cache-from" in flags
    assert "--cache-to" not in flags
    assert "127.0.0.1:5000/acme/base" not in " ".join(flags)


def test_buildx_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://user:password@proxy:3128")
    secret = tmp_path / "npmrc"
    local = Cache("local", str(tmp_path / "cache"))
    flags = buildx_flags(request(tmp_path, secrets={"npmrc": secret}, caches=(Cache("gha", "scope"), local)))
    text = " ".join(flags)
    assert "password" not in text
    assert f"--build-context shipgraph.invalid/base@{DIGEST}=docker-image://127.0.0.1:5000/acme/base@{DIGEST}" in text
    assert "--provenance=false --sbom=false" in text
    assert "push-by-digest=true" in text
    assert "rewrite-timestamp=true" in text
    assert f"id=npmrc,src={secret}" in text
    assert "type=gha,scope=scope-linux-amd64" in flags
    assert not any(flag.startswith("type=local,src") for flag in flags)
    assert any(flag.startswith("type=local,dest") for flag in flags)
    scratch = buildx_flags(request(tmp_path, base=None, http_proxy=False))
    assert not {"--build-context", "HTTPS_PROXY"} & set(scratch)
    assert "BASE_IMAGE" not in " ".join(scratch)


def test_the_users_registries_go_on_counting(tmp_path: Path) -> None:
    own, out = tmp_path / "own.conf", tmp_path / "out.conf"
    own.write_text('unqualified-search-registries = ["docker.io"]\n')
    registries_conf(out, {"shipgraph.invalid/base": "127.0.0.1:1/acme/base"}, own=own)
    text = out.read_text()
    assert text.startswith("unqualified-search-registries")
    assert 'prefix = "shipgraph.invalid/base"\nlocation = "127.0.0.1:1/acme/base"\ninsecure = true' in text
    own.write_text("[registries.search]\nregistries = ['docker.io']\n")
    registries_conf(out, {}, own=own)
    assert out.read_text() == ""


def test_mirrors() -> None:
    public, security = "http://deb.debian.org/debian", "http://deb.debian.org/debian-security"
    known = [("http://mirror/debian", "trixie"), ("http://near/debian", "bookworm"), ("http://x/debian-security", "y")]
    assert _mirror("bookworm", public, known) == "http://near/debian"
    assert _mirror("sid", public, known) == "http://mirror/debian"
    assert _mirror("bookworm-security", security, known) == "http://x/debian-security"
    assert _mirror("bookworm", public, [("http://archive.ubuntu.com/ubuntu", "noble")]) == public


def test_layers_pack_to_the_same_bytes(tmp_path: Path) -> None:
    tar = tmp_path / "root.tar"
    with tarfile.open(tar, "w", format=tarfile.USTAR_FORMAT) as archive:
        info = tarfile.TarInfo("./etc/hostname")
        info.size = 3 << 20
        archive.addfile(info, io.BytesIO(b"x" * info.size))
    layers = [tmp_path / "1.gz", tmp_path / "2.gz"]
    digests = {pack_layer(tar, layer, 1_700_000_000) for layer in layers}
    contents = {layer.read_bytes() for layer in layers}
    assert len(digests) == len(contents) == 1
    plain = gzip.decompress(contents.pop())
    assert digests == {Digest.of(plain)}
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        assert archive.getnames() == ["./dev", "./etc/hostname"]
        assert archive.getmember("./dev").isdir()
