"""The real scanner over twenty kinds of planted secrets, wherever they are, and none of them in any output."""

from __future__ import annotations

import base64
import io
import json
from typing import TYPE_CHECKING

import pytest
from tests.unit.scan.images import AMD64, ARM64, layer, packed, push_image, push_index, tar
from tests.unit.scan.places import PLACES, push_planted, zipped
from tests.unit.scan.planted import Planted, planted

from shipgraph.events import silent
from shipgraph.scan.finding import CONFIGURATION, Finding
from shipgraph.scan.layers import LayeredScanner
from shipgraph.scan.severity import Severity
from shipgraph.scan.stage import Subject, check_verdicts, gate_image, gate_images
from shipgraph.store.memory import MemoryStore

if TYPE_CHECKING:
    from shipgraph.events import Event
    from shipgraph.scan.kingfisher import Kingfisher
    from shipgraph.scan.verdict import Verdict

KINDS = [one.kind for one in planted()]


def findings(verdict: Verdict) -> list[Finding]:
    return [judged.finding for _, judged in verdict.judged]


def is_hidden(secrets: list[str], text: str) -> bool:
    return not any(secret in text or json.dumps(secret)[1:-1] in text for secret in secrets)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["file", "base64", "zip", "tar.gz in zip"])
def test_every_kind_is_found_however_it_is_packed(kingfisher: Kingfisher, kind: str, how: str) -> None:
    from shipgraph.scan.content import ContentScan

    one = next(one for one in planted() if one.kind == kind)
    content = {
        "file": lambda: tar({one.path: one.content}),
        "base64": lambda: tar({"srv/encoded.txt": b"data: " + base64.b64encode(one.content) + b"\n"}),
        "zip": lambda: tar({"srv/a.zip": zipped({one.path: one.content})}),
        "tar.gz in zip": lambda: tar({"srv/a.zip": zipped({"b.tar.gz": packed(tar({one.path: one.content}))})}),
    }[how]()
    scan = ContentScan(kingfisher)
    scan.blob(io.BytesIO(content))
    failing = [finding for finding in scan.findings if finding.severity.fails]
    assert failing
    if how == "file":
        assert [finding.path for finding in failing if finding.path == one.path]
    assert is_hidden([one.secret], repr(failing))


@pytest.mark.parametrize("place", PLACES)
async def test_every_kind_is_found_wherever_it_is(kingfisher: Kingfisher, place: str) -> None:
    store, secrets, events = MemoryStore(), planted(3), list["Event"]()
    subjects = [
        Subject(one.kind, f"acme/{one.kind}", await push_planted(store, f"acme/{one.kind}", one, place))
        for one in secrets
    ]
    verdicts = await gate_images(store, subjects, scanner=LayeredScanner(kingfisher), emit=events.append)
    assert [verdict.name for verdict in verdicts if not verdict.refused] == []
    for verdict in verdicts:
        platforms = {platform for _, where in verdict.judged.items() for platform in where}
        assert platforms == ({"linux/arm64"} if place == "arm64 alone" else {"linux/amd64", "linux/arm64"})
    everything = "\n".join([*(json.dumps(verdict.to_json()) for verdict in verdicts), repr(verdicts), repr(events)])
    assert is_hidden([one.secret for one in secrets], everything)


async def test_all_places_of_an_image(kingfisher: Kingfisher) -> None:
    secrets = planted(2)
    by_kind = {one.kind: one for one in secrets}
    store = MemoryStore()

    def files(*kinds: str) -> dict[str, bytes | None]:
        return {by_kind[kind].path: by_kind[kind].content for kind in kinds}

    base = layer({"etc/motd": b"hello\n"})
    deleted = [layer(files("github")), layer({"root/.wh..git-credentials": b""})]
    nested = layer({"srv/bundle.zip": zipped({"inner.tar.gz": packed(tar(files("slack-token")))})})
    encoded = layer({"srv/app/blob.txt": base64.b64encode(by_kind["stripe"].content)})
    amd64 = await push_image(
        store,
        "acme/app",
        [base, *deleted, nested, encoded],
        config={
            "Env": [
                "PATH=/usr/bin",
                f"STRIPE={by_kind['sendgrid'].secret}",
                f"APP_PASSWORD={by_kind['password'].secret}",
            ],
            "Labels": {"token": by_kind["gitlab"].secret},
            "Entrypoint": ["/bin/app", f"--key={by_kind['google'].secret}"],
        },
        history=[f"RUN curl -H 'Authorization: Bearer {by_kind['jwt'].secret}' https://x"],
        annotations={"org.example.note": by_kind["anthropic"].secret},
    )
    only_arm = layer(files("ssh-key"))
    arm64 = await push_image(store, "acme/app", [base, only_arm], config={"Env": ["PATH=/usr/bin"]})
    index = await push_index(store, "acme/app", {AMD64: amd64, ARM64: arm64})
    events: list[Event] = []
    verdict = await gate_image(
        store, "acme/app", index.digest, scanner=LayeredScanner(kingfisher), name="app", emit=events.append
    )
    places = {finding.path for finding in findings(verdict) if finding.severity.fails}
    assert places >= {
        "root/.git-credentials",
        "srv/bundle.zip!inner.tar.gz!inner.tar!srv/app/slack.json",
        "srv/app/blob.txt",
        f"{CONFIGURATION} config.Env STRIPE",
        f"{CONFIGURATION} config.Env APP_PASSWORD",
        f"{CONFIGURATION} config.Labels token",
        f"{CONFIGURATION} config.Entrypoint",
        f"{CONFIGURATION} history[0].created_by",
        f"{CONFIGURATION} annotations org.example.note",
        "root/.ssh/id_ed25519",
    }
    platforms = {judged.finding.path: where for (_, judged), where in verdict.judged.items()}
    assert platforms["root/.ssh/id_ed25519"] == ["linux/arm64"]
    assert next(f for f in findings(verdict) if f.path == "srv/app/blob.txt").encoded
    with pytest.raises(Exception, match="the secret gate refuses app") as refused:
        check_verdicts([verdict])
    everything = "\n".join((repr(verdict), json.dumps(verdict.to_json()), repr(events), str(refused.value)))
    assert is_hidden([one.secret for one in secrets], everything)


async def test_a_clean_image_passes(kingfisher: Kingfisher) -> None:
    store = MemoryStore()
    files: dict[str, bytes | None] = {
        "etc": None,
        "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\n",
        "usr/share/doc/app/README": b'Set password = "your-password" and API_KEY=<your key>.\n',
        "usr/lib/app/login.py": b'def login(password="changeme"):\n    return os.environ["DB_PASSWORD"]\n',
        "etc/app.env": b"DB_PASSWORD=${DB_PASSWORD}\nPASSWORD_FILE=/run/secrets/password\n",
        "etc/docker.json": b'{"auths": {"ghcr.io": {"auth": "authentication"}}}',
    }
    image = await push_image(store, "acme/app", [layer(files)], config={"Env": ["PASSWORD_FILE=/run/secrets/p4ss"]})
    verdict = await gate_image(store, "acme/app", image.digest, scanner=LayeredScanner(kingfisher), emit=silent)
    assert not verdict.refused
    assert findings(verdict) == []


def test_a_comment_in_a_file_switches_nothing_off(kingfisher: Kingfisher) -> None:
    one = next(one for one in planted() if one.kind == "stripe")
    content = one.content.rstrip() + b"  # kingfisher:ignore gitleaks:allow trufflehog:ignore nosec\n"
    assert kingfisher.scan(one.path, content)


def test_a_secret_key_without_its_id_is_found(kingfisher: Kingfisher) -> None:
    one = next(one for one in planted() if one.kind == "aws")
    (hit,) = kingfisher.scan("x", f"AWS_SECRET_ACCESS_KEY={one.secret}\n".encode())
    assert hit.severity is Severity.CRITICAL


def test_nothing_that_talks_to_providers_is_used() -> None:
    import inspect

    from shipgraph.scan import kingfisher

    source = inspect.getsource(kingfisher)
    assert "Validator" not in source
    assert "Revoker" not in source


def test_the_version_needs_no_rules(tmp_path_factory: pytest.TempPathFactory) -> None:
    from shipgraph.scan.kingfisher import Kingfisher

    scanner = Kingfisher(tmp_path_factory.mktemp("none"))
    assert scanner.version.startswith("kingfisher 1.")
    assert scanner._loaded is None


def test_planted_secrets_are_new_each_time() -> None:
    assert len({one.secret for seed in (1, 2) for one in planted(seed)}) == 40
    assert all(isinstance(one, Planted) for one in planted())
