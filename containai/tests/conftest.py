"""What the tests of containai share: its folder, its programs as modules, certificates."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

CONTAINAI = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def containai() -> Path:
    return CONTAINAI


def load(path: Path, name: str) -> ModuleType:
    loader = importlib.machinery.SourceFileLoader(name, str(path))
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = written
    return module


@pytest.fixture(scope="session")
def converter() -> ModuleType:
    return load(CONTAINAI / "docker/containai/containai_config.py", "containai_config")


@pytest.fixture(scope="session")
def forwarder() -> ModuleType:
    return load(CONTAINAI / "docker/log-forwarder/log_forwarder.py", "log_forwarder")


@dataclass(frozen=True)
class Authority:
    """A certificate authority in a folder."""

    folder: Path

    @classmethod
    def make(cls, folder: Path, name: str) -> Authority:
        folder.mkdir(parents=True)
        new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
        openssl(*new, "-subj", f"/CN={name}", "-keyout", str(folder / "ca.key"), "-out", str(folder / "ca.crt"))
        return cls(folder)

    def issue(self, certs: Path, name: str) -> Path:
        """A folder with ca.crt, and tls.crt and tls.key for a name."""
        certs.mkdir(parents=True)
        key, request, extensions = certs / "tls.key", certs / "request", certs / "extensions"
        new = ("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        openssl(*new, "-subj", f"/CN={name}", "-keyout", str(key), "-out", str(request))
        extensions.write_text(f"subjectAltName=DNS:{name}\n", encoding="ascii")
        openssl(
            *("x509", "-req", "-in", str(request), "-CA", str(self.folder / "ca.crt"), "-days", "2"),
            *("-CAkey", str(self.folder / "ca.key"), "-CAcreateserial", "-extfile", str(extensions)),
            *("-out", str(certs / "tls.crt")),
        )
        (certs / "ca.crt").write_bytes((self.folder / "ca.crt").read_bytes())
        return certs


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("authority") / "ca", "containai test")


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("stranger") / "ca", "somebody else")
