"""The local key: made once, readable by its owner alone."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from shipgraph.attest.key import load_key, make_key
from shipgraph.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_key_is_made_once_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "signing.key"
    first = make_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert make_key(path).public == first.public
    assert load_key(path).public == first.public
    assert [file.name for file in path.parent.iterdir()] == ["signing.key"]


def test_many_that_make_it_at_once_end_with_one(tmp_path: Path) -> None:
    path = tmp_path / "signing.key"
    with ThreadPoolExecutor(8) as threads:
        keys = list(threads.map(lambda _: make_key(path).public, range(8)))
    assert len(set(keys)) == 1


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "signing.key"
    make_key(path)
    path.chmod(0o640)
    with pytest.raises(ConfigurationError, match="others may read"):
        load_key(path)


def test_what_is_no_key_is_refused_and_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "signing.key"
    with pytest.raises(ConfigurationError, match="can't be read"):
        load_key(path)
    other = generate_private_key(SECP384R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for content in (b"", b"hunter2", other):
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(ConfigurationError) as raised:
            load_key(path)
        assert "hunter2" not in str(raised.value)
