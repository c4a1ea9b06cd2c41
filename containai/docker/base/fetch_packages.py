#!/usr/bin/env python3
"""Install what package-lock.json pins, before there is an npm to do it.

Usage: fetch_packages.py PACKAGE_LOCK DESTINATION

Every package of the lock that fits this machine is downloaded from the npm registry, checked against the lock's sha512
and unpacked to DESTINATION/node_modules/NAME. Packages that are bundled inside another one come with it.

The registry is https://registry.npmjs.org unless the file that NPM_CONFIG_USERCONFIG names says otherwise
(`registry=URL`, and `//HOST/PATH/:_authToken=TOKEN` for one that wants a token). SSL_CERT_FILE and HTTPS_PROXY
work as they do everywhere.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json
import os
import platform
import sys
import tarfile
import time
import urllib.error
import urllib.request
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, urlsplit

CPU = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}
LIMIT = 400 * 1024 * 1024
ATTEMPTS = 4


def main(arguments: list[str]) -> int:
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    lock = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    destination = Path(arguments[1])
    cpu = CPU[platform.machine()]
    registry, token = registry_settings()
    for place, package in sorted(lock["packages"].items()):
        if not place or package.get("inBundle") or not fits(package, cpu):
            continue
        name = place.removeprefix("node_modules/")
        version = package["version"]
        archive = download(archive_url(registry, name, version), token)
        check(name, version, archive, package["integrity"])
        unpack(archive, destination / "node_modules" / name)
        print(f"{name} {version} installed")
    return 0


def fits(package: dict[str, Any], cpu: str) -> bool:
    return cpu in package.get("cpu", [cpu]) and "linux" in package.get("os", ["linux"])


def registry_settings() -> tuple[str, str | None]:
    """The registry's address and token, from the npmrc if there is one."""
    settings: dict[str, str] = {}
    npmrc = Path(os.environ.get("NPM_CONFIG_USERCONFIG", "/nonexistent"))
    if npmrc.is_file():
        for line in npmrc.read_text(encoding="utf-8").splitlines():
            key, separator, value = line.partition("=")
            if separator and not key.lstrip().startswith(("#", ";")):
                settings[key.strip()] = value.strip().strip('"')
    registry = settings.get("registry", "https://registry.npmjs.org").rstrip("/")
    address = urlsplit(registry)
    return registry, settings.get(f"//{address.netloc}{address.path}/:_authToken")


def archive_url(registry: str, name: str, version: str) -> str:
    return f"{registry}/{quote(name, safe='@/')}/-/{name.rpartition('/')[2]}-{version}.tgz"


def download(url: str, token: str | None) -> bytes:
    request = urllib.request.Request(url)
    if token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                body: bytes = response.read(LIMIT + 1)
            break
        except OSError as error:
            permanent = isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code not in (408, 429)
            if permanent or attempt == ATTEMPTS:
                sys.exit(f"{url}: {error}")
            print(f"{url}: {error}; trying again", file=sys.stderr)
            time.sleep(2**attempt)
    if len(body) > LIMIT:
        sys.exit(f"{url}: more than {LIMIT} bytes")
    return body


def check(name: str, version: str, archive: bytes, integrity: str) -> None:
    algorithm, _, wanted = integrity.partition("-")
    if algorithm != "sha512":
        sys.exit(f"{name} {version}: the lock has no sha512 but {algorithm}")
    got = base64.b64encode(hashlib.sha512(archive).digest()).decode()
    if not hmac.compare_digest(got, wanted):
        sys.exit(f"{name} {version}: sha512 is {got}, the lock says {wanted}")


def unpack(archive: bytes, folder: Path) -> None:
    """Regular files only; the archive's first path component (package/) is dropped."""
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as entries:
        for entry in entries:
            parts = PurePosixPath(entry.name).parts[1:]
            if entry.isdir():
                continue
            if not entry.isreg() or not parts or ".." in parts:
                sys.exit(f"unexpected entry {entry.name!r} in {folder.name}")
            content = entries.extractfile(entry)
            assert content is not None
            path = folder.joinpath(*parts)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.read())
            path.chmod(0o755 if entry.mode & 0o111 else 0o644)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
