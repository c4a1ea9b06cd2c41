"""What the files of an image say about its packages."""

from __future__ import annotations

import pytest

from shipgraph.sbom.package import Package, System, read_packages, read_system, tells_packages

STATUS = b"""Package: libc6
Status: install ok installed
Source: glibc (2.36-9)
Version: 2.36-9+deb12u9
Architecture: amd64
Description: GNU C Library
 continued: not a field

Package: gone
Status: deinstall ok config-files
Version: 1
Architecture: all

Package: bash
Status: install ok installed
Version: 5.2.15-2+b7
Architecture: amd64
"""


def test_debian() -> None:
    assert read_packages("var/lib/dpkg/status", STATUS) == (
        Package("deb", "bash", "5.2.15-2+b7", "amd64"),
        Package("deb", "libc6", "2.36-9+deb12u9", "amd64", "glibc 2.36-9"),
    )
    distroless = b"Package: tzdata\nVersion: 2024a\nArchitecture: all\n"
    assert read_packages("var/lib/dpkg/status.d/tzdata", distroless) == (Package("deb", "tzdata", "2024a", "all"),)
    assert read_packages("var/lib/dpkg/status", distroless) == ()


def test_npm_and_python() -> None:
    npm = "usr/lib/node_modules/@acme/tool/package.json"
    assert read_packages(npm, b'{"name": "@acme/tool", "version": "1.2.3"}') == (Package("npm", "@acme/tool", "1.2.3"),)
    pip = "usr/lib/python3/dist-packages/Foo_Bar-1.0.dist-info/METADATA"
    text = b"Metadata-Version: 2.1\nName: Foo_Bar\nVersion: 1.0\n\nName: not this\n"
    assert read_packages(pip, text) == (Package("pypi", "foo-bar", "1.0"),)


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("node_modules/x/package.json", b"{"),
        ("node_modules/x/package.json", b"[]"),
        ("node_modules/x/package.json", b'{"name": "x", "version": 1}'),
        ("node_modules/x/package.json", b'{"name": "../x y", "version": "1"}'),
        ("node_modules/x/package.json", b"[" * 100_000),
        ("a.dist-info/METADATA", b"Name: a\x1b[31m\nVersion: 1\n"),
        ("a.dist-info/METADATA", b"\xff\xfe"),
        ("var/lib/dpkg/status", b"\n\n: \n"),
    ],
)
def test_files_that_make_no_sense_name_nothing(path: str, content: bytes) -> None:
    assert read_packages(path, content) == ()


@pytest.mark.parametrize(
    ("path", "tells"),
    [
        ("var/lib/dpkg/status", True),
        ("var/lib/dpkg/status.d/base", True),
        ("var/lib/dpkg/status.d/base.md5sums", False),
        ("srv/node_modules/x/package.json", True),
        ("srv/node_modules/x/lib/package.json", False),
        ("srv/node_modules/.package-lock.json", False),
        ("srv/package.json", False),
        ("x/a-1.dist-info/METADATA", True),
        ("x/METADATA", False),
    ],
)
def test_which_files_tell(path: str, tells: bool) -> None:
    assert tells_packages(path) is tells


def test_the_distribution() -> None:
    text = b'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n# ID=x\n'
    assert read_system(text) == System("debian", "12", "Debian GNU/Linux 12 (bookworm)")
    assert read_system(b"nothing") is None
