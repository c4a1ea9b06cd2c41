"""A release's evidence: nothing is public that was not scanned, and nothing moves that was not tested and signed."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest
from tests.e2e.release.conftest import Demo, moving_tags_of, tags_of

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.real

TESTS = """
[[images.base.tests]]
run = ["cat", "/etc/machine"]
expect-output = "x86_64"

[[images.app.tests]]
name = "says hello"
run = ["cat", "/etc/hello"]
expect-output = "hello from app"

[[images.tool.tests]]
run = ["cat", "/etc/hello"]

[[images.side.tests]]
run = ["cat", "/etc/hello"]

[build]
"""
TOKEN = "ghp_" + "9fQ2mZ7xK1vL4bN8cR5tW3yH6jD0sA2eG9uP"  # split, so that this file itself is clean


@pytest.fixture
def proven(demo: Demo) -> Demo:
    """The project with a test for each image; all kinds of evidence are required."""
    demo.edit("shipgraph.toml", "\n[build]\n", TESTS)
    demo.edit("shipgraph.toml", "require = []", 'require = ["gate", "test", "provenance"]')
    demo.commit()
    return demo


def test_all_of_it_is_made_by_one_release_and_found_again_by_the_next(proven: Demo) -> None:
    first = proven.json("rehearse")
    assert first["evidence"] == {"gate": "ok", "test": "ok", "provenance": "ok"}
    rows = {row["name"]: row for row in proven.json("verify", "dev", "--root", proven.root)["rows"]}
    counts = {"gate": 5, "test": 4, "provenance": 9, "metadata": 1}
    for kind, count in counts.items():
        row = rows[f"evidence: {kind}"]
        assert (row["state"], row["detail"]) == ("ok", f"{count} signed by key local")
    before = tags_of(proven.root)
    second = proven.run("rehearse")
    assert "unchanged: dev already is this release" in second.out
    assert "scan layer" not in second.err, "nothing is scanned again"
    assert "test base (linux/amd64): started" not in second.err, "nor tested"
    assert tags_of(proven.root) == before


def test_a_failing_image_test_moves_nothing_and_all_failures_are_told(proven: Demo) -> None:
    proven.run("rehearse")
    before = moving_tags_of(proven.root)
    proven.edit("docker/app/hello", "hello from app", "good bye")
    proven.edit("shipgraph.toml", 'expect-output = "x86_64"', 'expect-output = "z80"')
    proven.commit()
    done = proven.run("rehearse", code=3)
    assert "app (linux/amd64): says hello" in done.err
    assert moving_tags_of(proven.root) == before
    proven.git("revert", "--no-edit", "HEAD")
    proven.run("rehearse")


def test_a_secret_never_leaves_the_job(proven: Demo) -> None:
    """In a parent, under a file that its child deletes, and in another branch of the graph: all are told at once."""
    proven.run("rehearse")
    before = moving_tags_of(proven.root)
    proven.write("docker/app/settings.ini", f"token = {TOKEN}\n")
    proven.edit("docker/app/Dockerfile", "COPY hello", "COPY settings.ini /etc/\nCOPY hello")
    proven.edit("docker/tool/Dockerfile", "COPY hello", "RUN rm /etc/settings.ini\nCOPY hello")
    proven.edit("docker/side/Dockerfile", "COPY hello", f"ENV API={TOKEN}\nCOPY hello")
    proven.commit()
    process = proven.start("rehearse", "--debug")
    out, err = process.communicate(timeout=180)
    assert process.returncode == 3, err
    (refusal,) = [line for line in err.splitlines() if line.startswith("error: the secret gate refuses")]
    for image in ("app linux/amd64", "tool linux/amd64", "side linux/amd64"):
        assert image in refusal, "all gates run to the end"
    assert TOKEN not in out + err
    assert not _holding(proven.root, TOKEN), "nothing with the secret reached the target"
    assert not _holding(proven.folder / ".shipgraph" / "gate", TOKEN), "nor what is remembered of the scan"
    assert moving_tags_of(proven.root) == before


def test_a_secret_in_the_payload_is_refused_before_it_is_public(proven: Demo) -> None:
    proven.run("rehearse")
    before = tags_of(proven.root)
    proven.write(
        "payload/login.json", json.dumps({"auths": {"r": {"auth": base64.b64encode(b"me:h8Jq2!xK").decode()}}})
    )
    proven.commit()
    done = proven.run("rehearse", code=3)
    assert "payload" in done.err
    after = tags_of(proven.root)
    assert {name for name in after if name.startswith("demo-payload")} == {
        name for name in before if name.startswith("demo-payload")
    }


def test_evidence_of_another_key_does_not_count(proven: Demo) -> None:
    """Who can write to the registry can't vouch for what is in it."""
    proven.run("rehearse")
    (proven.folder / ".shipgraph" / "keys" / "signing.key").unlink()
    proven.run("attest", "--root", proven.root)  # makes a key of its own, and signs what that key can vouch for
    verified = proven.json("verify", "dev", "--root", proven.root, code=1)
    broken = {row["name"] for row in verified["rows"] if row["state"] == "BROKEN"}
    assert broken == {"evidence: gate", "evidence: test", "evidence: metadata"}


def test_rollback_and_refresh_sign_what_they_publish(proven: Demo) -> None:
    proven.run("rehearse")
    proven.edit("docker/side/hello", "hello", "hallo")
    proven.commit()
    proven.run("rehearse")
    for command in ("refresh", "rollback"):
        proven.run(command, "dev", "--root", proven.root)
        assert proven.json("verify", "dev", "--root", proven.root)["ok"], f"after {command}"
        proven.run("resolve", "dev", "--root", proven.root)


def test_a_promoted_version_has_its_own_payload_gated_and_signed(proven: Demo) -> None:
    proven.run("rehearse")
    proven.run("promote", "--version", "v1.0.0", "--root", proven.root)
    assert proven.json("verify", "prod", "--root", proven.root)["ok"]


def _holding(folder: Path, secret: str) -> list[Path]:
    """Files whose bytes, as they are or unpacked, hold the secret."""
    import gzip

    found = []
    for path in folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            plain = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
            if secret.encode() in plain:
                found.append(path)
    return found
