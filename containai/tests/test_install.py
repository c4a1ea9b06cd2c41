"""The installer against a small registry that asks for a token, and against one that lies."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import json
import os
import re
import subprocess
import tarfile
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
METADATA = "application/vnd.containai.metadata.v1+json"
PAYLOAD = "application/vnd.containai.payload.v1"
LAYER = "application/vnd.containai.payload.layer.v1+gzip"
DIGEST = "sha256:" + "a" * 64


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass
class Registry:
    """Blobs and manifests; every request needs the token that /token hands out."""

    contents: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    port: int = 0
    token: str | None = "let-me-in"
    handed_out: str = "let-me-in"
    headers: dict[str, str] = field(default_factory=dict)

    def put(self, repository: str, data: bytes) -> dict[str, Any]:
        self.contents[f"/v2/{repository}/blobs/{sha256(data)}"] = data
        return {"digest": sha256(data), "size": len(data)}

    def artifact(self, repository: str, tag: str, kind: str, layers: list[dict[str, Any]]) -> str:
        config = {"mediaType": "application/vnd.oci.empty.v1+json", **self.put(repository, b"{}")}
        document = {"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": kind, "config": config, "layers": layers}
        data = json.dumps(document).encode()
        for reference in (tag, sha256(data)):
            self.contents[f"/v2/{repository}/manifests/{reference}"] = data
        return sha256(data)


class Handler(http.server.BaseHTTPRequestHandler):
    registry: Registry

    def log_message(self, *_arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        registry = self.registry
        registry.requests.append(self.path)
        address = urlsplit(self.path)
        if address.path == "/token":
            scope = parse_qs(address.query)["scope"][0]
            self.answer(200, json.dumps({"token": f"{registry.handed_out}:{scope}"}).encode())
            return
        repository = re.sub(r"/v2/(.*)/(manifests|blobs)/.*", r"\1", address.path)
        scope = f"repository:{repository}:pull"
        if registry.token and self.headers.get("Authorization") != f"Bearer {registry.token}:{scope}":
            realm = f"http://127.0.0.1:{registry.port}/token"
            self.answer(401, b"", {"WWW-Authenticate": f'Bearer realm="{realm}",service="test",scope="{scope}"'})
            return
        data = registry.contents.get(address.path)
        self.answer(404 if data is None else 200, data or b"", registry.headers)

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def registry() -> Iterator[Registry]:
    registry = Registry()
    handler = type("TestHandler", (Handler,), {"registry": registry})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    registry.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield registry
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass
class Release:
    """A release that a test may spoil before it is pushed."""

    files: dict[str, bytes]
    images: list[dict[str, str]]
    metadata: dict[str, Any]
    extra: list[tarfile.TarInfo] = field(default_factory=list)
    sums: Callable[[bytes], bytes] = bytes
    layer_type: str = LAYER
    payload_type: str = PAYLOAD

    def archive(self) -> bytes:
        files = {**self.files, "images.json": json.dumps(self.images).encode()}
        lines = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(files.items())]
        files["SHA256SUMS"] = self.sums("".join(lines).encode())
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name, data in sorted(files.items()):
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(data), 0o755 if name.startswith("bin/") else 0o644
                archive.addfile(entry, io.BytesIO(data))
            for entry in self.extra:
                archive.addfile(entry, io.BytesIO(b"\0" * entry.size))
        return gzip.compress(buffer.getvalue(), mtime=0)

    def push(self, registry: Registry, channel: str = "dev") -> str:
        layer = {"mediaType": self.layer_type, **registry.put("acme/containai-payload", self.archive())}
        digest = registry.artifact("acme/containai-payload", "sha-1", self.payload_type, [layer])
        document = {
            "channel": channel,
            "version": "dev",
            "serial": 7,
            "immutable_tag": "sha-1",
            "images": self.images,
            "payload": {"ref": f"elsewhere.example.com/other/containai-payload:dev@{digest}", "digest": digest},
            "expires_at": "2999-01-01T00:00:00Z",
            **self.metadata,
        }
        blob = registry.put("acme/containai-metadata", json.dumps(document).encode())
        layer = {"mediaType": "application/json", **blob}
        registry.artifact("acme/containai-metadata", channel, METADATA, [layer])
        return digest


@pytest.fixture
def release() -> Release:
    files = {"bin/containai": b"#!/bin/sh\necho started\n", "README.md": b"text\n"}
    images = [{"image": "claude", "repository": "containai-claude", "digest": DIGEST}]
    return Release(files, images, {})


@dataclass
class Installer:
    script: Path
    prefix: Path
    registry: Registry

    def run(self, *arguments: str, host: str = "") -> subprocess.CompletedProcess[str]:
        host = host or f"127.0.0.1:{self.registry.port}"
        options = ["--registry", host, "--namespace", "acme", "--prefix", str(self.prefix)]
        command = ["sh", str(self.script), *options, "--channel", "dev", *arguments]
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.prefix.parent)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def install(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run("--insecure-http", *arguments)

    def refuse(self, message: str, *arguments: str) -> None:
        """The installation fails with this message, and what was installed stays as it was."""
        before = self.links()
        result = self.install(*arguments)
        assert result.returncode == 1, result.stdout
        assert message in result.stderr
        assert "Traceback" not in result.stderr
        assert self.links() == before
        assert not list(self.prefix.glob("releases/.*"))

    def links(self) -> dict[str, str]:
        links = {name: self.prefix / name for name in ("current", "previous")}
        return {name: str(path.readlink()) for name, path in links.items() if path.is_symlink()}


@pytest.fixture
def installer(containai: Path, tmp_path: Path, registry: Registry) -> Installer:
    return Installer(containai / "payload/install.sh", tmp_path / "prefix", registry)


def test_installs(installer: Installer, registry: Registry, release: Release) -> None:
    digest = release.push(registry)
    result = installer.install()
    assert result.returncode == 0, result.stderr
    current = installer.prefix / "current"
    assert subprocess.check_output([current / "payload/bin/containai"], text=True) == "started\n"
    assert subprocess.check_output([installer.prefix / "bin/containai"], text=True) == "started\n"
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=current / "payload", check=True)
    settings = dict(line.split("=", 1) for line in (current / "install.env").read_text("utf-8").splitlines())
    assert settings["REGISTRY"] == f"127.0.0.1:{registry.port}"
    assert (settings["NAMESPACE"], settings["CHANNEL"], settings["VERSION"]) == ("acme", "dev", "dev")
    assert settings["PAYLOAD_DIGEST"] == digest
    assert installer.links() == {"current": settings_release(current)}
    assert (current / "payload/README.md").stat().st_mode & 0o777 == 0o644


def settings_release(current: Path) -> str:
    return f"releases/{current.resolve().name}"


def test_piped_into_sh(installer: Installer, registry: Registry, release: Release, tmp_path: Path) -> None:
    release.push(registry)
    options = ["--registry", f"127.0.0.1:{registry.port}", "--namespace", "acme", "--channel", "dev", "--insecure-http"]
    with installer.script.open("rb") as script:
        subprocess.run(["sh", "-s", "--", *options, "--prefix", str(tmp_path / "p")], stdin=script, check=True)
    assert (tmp_path / "p/current/payload/bin/containai").exists()


def test_update_keeps_previous_and_goes_back(installer: Installer, registry: Registry, release: Release) -> None:
    release.push(registry)
    assert installer.install().returncode == 0
    first = installer.links()["current"]
    assert installer.install().returncode == 0
    assert installer.links() == {"current": first}
    release.files["README.md"] = b"newer\n"
    release.metadata["serial"] = 8
    release.push(registry)
    assert installer.install().returncode == 0
    second = installer.links()["current"]
    assert installer.links() == {"current": second, "previous": first}
    assert installer.run("--rollback").returncode == 0
    assert installer.links() == {"current": first, "previous": second}
    (installer.prefix / second / "payload/README.md").write_bytes(b"tampered\n")
    result = installer.run("--rollback")
    assert result.returncode == 1
    assert "README.md: its sum is" in result.stderr
    assert installer.links() == {"current": first, "previous": second}


def test_reinstall_repairs(installer: Installer, registry: Registry, release: Release) -> None:
    release.push(registry)
    assert installer.install().returncode == 0
    (installer.prefix / "current/payload/README.md").write_bytes(b"tampered\n")
    assert installer.install().returncode == 0
    assert (installer.prefix / "current/payload/README.md").read_bytes() == b"text\n"


def test_a_channel_that_went_back(installer: Installer, registry: Registry, release: Release) -> None:
    release.metadata["serial"] = 8
    release.push(registry)
    assert installer.install().returncode == 0
    release.metadata["serial"] = 7
    release.files["README.md"] = b"older\n"
    release.push(registry)
    installer.refuse("channel dev is at serial 7, and 8 was installed before")
    assert installer.install("--allow-older").returncode == 0


@pytest.mark.parametrize("which", ["acme/containai-metadata/blobs", "acme/containai-payload/blobs"])
def test_a_blob_with_other_bytes(installer: Installer, registry: Registry, release: Release, which: str) -> None:
    release.push(registry)
    assert installer.install().returncode == 0
    for path, data in list(registry.contents.items()):
        if which in path and data != b"{}":
            registry.contents[path] = data[:-1] + bytes([data[-1] ^ 1])
    installer.refuse("with sha256:")


@pytest.mark.parametrize("change", [lambda data: data[:-5], lambda data: data + b"more"])
def test_a_blob_of_another_size(
    installer: Installer, registry: Registry, release: Release, change: Callable[[bytes], bytes]
) -> None:
    release.push(registry)
    for path, data in list(registry.contents.items()):
        if "acme/containai-payload/blobs" in path:
            registry.contents[path] = change(data)
    installer.refuse("bytes")


def test_a_payload_manifest_with_another_digest(installer: Installer, registry: Registry, release: Release) -> None:
    digest = release.push(registry)
    path = f"/v2/acme/containai-payload/manifests/{digest}"
    registry.contents[path] = registry.contents[path].replace(b"{", b"{ ", 1)
    installer.refuse(f"it should be {digest}")


def test_a_registry_that_names_another_digest(installer: Installer, registry: Registry, release: Release) -> None:
    release.push(registry)
    registry.headers["Docker-Content-Digest"] = DIGEST
    installer.refuse(f"it should be {DIGEST}")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"channel": "prod"}, "is the metadata of channel prod"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expired at 2020-01-01T00:00:00Z"),
        ({"expires_at": "soon"}, "'soon' is not a moment in UTC"),
        ({"payload": {"ref": "x/containai-payload:dev", "digest": DIGEST}}, "payload.ref and payload.digest differ"),
        ({"payload": {"ref": "x/containai-payload", "digest": "dev"}}, "the payload has no valid digest"),
        ({"payload": None}, "no payload"),
        ({"version": "../up"}, "no valid version"),
        ({"images": []}, "names no images"),
        ({"images": [{"image": "claude", "digest": "sha256:" + "b" * 64}]}, "image claude: the payload has"),
    ],
)
def test_metadata_that_does_not_hold(
    installer: Installer, registry: Registry, release: Release, metadata: dict[str, Any], message: str
) -> None:
    release.metadata.update(metadata)
    release.push(registry)
    installer.refuse(message)


def special(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, link
    return entry


@pytest.mark.parametrize(
    "entry",
    [
        special("../outside"),
        special("bin/../../outside"),
        special("/etc/outside"),
        special("link", tarfile.SYMTYPE, "/etc/passwd"),
        special("hard", tarfile.LNKTYPE, "README.md"),
        special("device", tarfile.CHRTYPE),
        special("pipe", tarfile.FIFOTYPE),
        special("README.md"),
        special("unlisted"),
    ],
    ids=lambda entry: entry.name,
)
def test_archives_that_are_not_plain(
    installer: Installer, registry: Registry, release: Release, entry: tarfile.TarInfo
) -> None:
    release.extra.append(entry)
    release.push(registry)
    installer.refuse("payload")
    assert not (installer.prefix.parent / "outside").exists()


@pytest.mark.parametrize(
    ("sums", "message"),
    [
        (lambda text: text.replace(b"README.md", b"READYOU.md"), "SHA256SUMS and the payload differ in READ"),
        (lambda text: text[:-1].rpartition(b"\n")[0] + b"\n", "SHA256SUMS and the payload differ in"),
        (lambda text: re.sub(rb"^.{8}", b"00000000", text), "SHA256SUMS says 00000000"),
        (lambda _text: b"", "SHA256SUMS"),
        (lambda _text: b"nonsense\n", "not a line of it"),
    ],
)
def test_sums_that_do_not_hold(
    installer: Installer, registry: Registry, release: Release, sums: Callable[[bytes], bytes], message: str
) -> None:
    release.sums = sums
    release.push(registry)
    installer.refuse(message)


def test_other_types(installer: Installer, registry: Registry, release: Release) -> None:
    release.payload_type = "application/vnd.example"
    release.push(registry)
    installer.refuse("is of type application/vnd.example, not")
    release.payload_type, release.layer_type = PAYLOAD, "application/gzip"
    release.push(registry)
    installer.refuse(f"has 0 layers of type {LAYER}")


def test_a_channel_that_is_not_there_is_not_replaced_by_a_tag(installer: Installer, registry: Registry) -> None:
    installer.refuse("404 Not Found")
    assert {path for path in registry.requests if "manifests" in path} == {"/v2/acme/containai-metadata/manifests/dev"}


def test_a_private_package(installer: Installer, registry: Registry, release: Release) -> None:
    release.push(registry)
    registry.token = None
    assert installer.install().returncode == 0
    registry.token = "let-me-in"
    registry.handed_out = "worthless"
    installer.refuse("401")
    registry.handed_out = "two\r\nHeaders: x"
    installer.refuse("no valid token")


def test_plain_http_is_for_this_machine_only(installer: Installer) -> None:
    result = installer.run("--insecure-http", host="registry.example.com")
    assert result.returncode == 1
    assert "for a registry on this machine only" in result.stderr
    result = installer.run(host=f"127.0.0.1:{installer.registry.port}")
    assert result.returncode == 1
    assert installer.registry.requests == []


def test_a_registry_that_is_down(installer: Installer) -> None:
    result = installer.run("--insecure-http", host="127.0.0.1:1")
    assert result.returncode == 1
    assert "Connection refused" in result.stderr
    assert "Traceback" not in result.stderr


def test_real_payload_files_pass(installer: Installer, registry: Registry, release: Release, containai: Path) -> None:
    payload = containai / "payload"
    release.files = {str(path.relative_to(payload)): path.read_bytes() for path in payload.rglob("*") if path.is_file()}
    release.push(registry)
    assert installer.install().returncode == 0
    result = subprocess.run([installer.prefix / "bin/containai", "images"], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["claude", f"127.0.0.1:{registry.port}/acme/containai-claude@{DIGEST}"]
