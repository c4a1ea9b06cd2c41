"""The gate over stores: what refuses, what is scanned once, what is remembered, what an exception covers."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.unit.scan.fake import WORD, WordScanner
from tests.unit.scan.images import AMD64, ARM64, Blob, layer, push_image, push_index

from shipgraph.errors import DigestMismatch, Refused, RegistryUnavailable
from shipgraph.events import silent
from shipgraph.oci.descriptor import Descriptor
from shipgraph.oci.digest import Digest
from shipgraph.oci.manifest import build_artifact, build_index
from shipgraph.scan.cache import ReportCache
from shipgraph.scan.exceptions import Accepted
from shipgraph.scan.layers import LayeredScanner
from shipgraph.scan.severity import Severity, of_confidence, of_trivy
from shipgraph.scan.stage import Subject, check_verdicts, gate_image, gate_images
from shipgraph.scan.trivy import Trivy, read_report
from shipgraph.scan.verdict import still_holds
from shipgraph.store.content import from_bytes
from shipgraph.store.decorators.counted import Counted
from shipgraph.store.memory import MemoryStore

if TYPE_CHECKING:
    from pathlib import Path

    from shipgraph.oci.manifest import ImageIndex
    from shipgraph.scan.verdict import Verdict

REPOSITORY = "acme/app"


async def gate(store: Any, digest: Digest, scanner: WordScanner | None = None, **more: Any) -> Verdict:
    layered = LayeredScanner(scanner or WordScanner())
    return await gate_image(store, REPOSITORY, digest, scanner=layered, name="app", emit=silent, **more)


def remembered(folder: Path) -> list[Path]:
    return list(folder.rglob("*.json"))


async def two_platforms(store: MemoryStore, repository: str = REPOSITORY, *own: Blob) -> ImageIndex:
    base = layer({"etc/base": b"base"})
    amd64 = await push_image(store, repository, [base, *own])
    arm64 = await push_image(store, repository, [base, layer({"etc/arm": WORD})])
    return await push_index(store, repository, {AMD64: amd64, ARM64: arm64})


async def test_every_platform_of_an_index() -> None:
    store = MemoryStore()
    verdict = await gate(store, (await two_platforms(store)).digest)
    assert verdict.refused
    assert [(m.platform, m.refused) for m in verdict.manifests] == [(AMD64, False), (ARM64, True)]
    ((_, judged),) = verdict.judged
    assert judged.finding.path == "etc/arm"
    narrowed = await gate(store, (await two_platforms(store)).digest, platforms=[AMD64])
    assert not narrowed.refused


async def test_nothing_to_look_at_refuses() -> None:
    store = MemoryStore()
    with pytest.raises(Refused, match="no image to gate"):
        await gate_images(store, [], scanner=LayeredScanner(WordScanner()), emit=silent)
    with pytest.raises(Refused, match="no image was gated"):
        check_verdicts([])
    empty = build_index([])
    await store.push_manifest(REPOSITORY, empty)
    assert (await gate(store, empty.digest)).refused
    index = await two_platforms(store)
    assert (await gate(store, index.digest, platforms=[type(AMD64).parse("linux/s390x")])).refused
    assert "is not in memory" in (await gate(store, Digest.of(b"absent"))).problem


async def test_a_scanner_without_rules_refuses() -> None:
    store = MemoryStore()
    image = await push_image(store, REPOSITORY, [layer({"a": b"b"})])
    verdict = await gate(store, image.digest, WordScanner(rules=0))
    assert verdict.refused
    assert "no rules" in verdict.problem


async def test_a_missing_scanner_refuses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from shipgraph.scan import kingfisher

    store = MemoryStore()
    image = await push_image(store, REPOSITORY, [layer({"a": b"b"})])
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Refused, match="trivy is not on PATH"):
        await gate_image(store, REPOSITORY, image.digest, scanner=Trivy("ghcr.io", folder=tmp_path), emit=silent)
    monkeypatch.setattr(kingfisher, "PACKAGE", "no-such-package")
    with pytest.raises(Refused, match="not installed"):
        await gate_image(store, REPOSITORY, image.digest, scanner=LayeredScanner(kingfisher.Kingfisher()), emit=silent)


async def test_shared_layers_are_scanned_once_and_all_images_are_reported(tmp_path: Path) -> None:
    memory = MemoryStore()
    base = layer({"etc/base": WORD})
    subjects = []
    for name in ("one", "two", "three"):
        image = await push_image(memory, f"acme/{name}", [base, layer({"own": name.encode()})])
        subjects.append(Subject(name, f"acme/{name}", image.digest))
    store, content = Counted(memory), WordScanner()
    scanner = LayeredScanner(content, cache=ReportCache(tmp_path, content.version))
    verdicts = await gate_images(store, subjects, scanner=scanner, emit=silent)
    assert [verdict.refused for verdict in verdicts] == [True] * 3
    assert len(scanner.scanned) == len(set(scanner.scanned)) == 1 + 3 + 3
    assert content.paths.count("etc/base") == 1
    with pytest.raises(Refused, match=r"one .*; two .*; three .*word in etc/base"):
        check_verdicts(verdicts)

    again, content = Counted(memory), WordScanner()
    scanner = LayeredScanner(content, cache=ReportCache(tmp_path, content.version))
    assert await gate_images(again, subjects, scanner=scanner, emit=silent) == verdicts
    assert scanner.scanned == []
    assert content.seen == []
    assert again.count("blob") == 0
    assert WORD not in b"".join(path.read_bytes() for path in remembered(tmp_path))


async def test_other_rules_scan_again_and_a_broken_report_is_none(tmp_path: Path) -> None:
    store = MemoryStore()
    image = await push_image(store, REPOSITORY, [layer({"a": WORD})])

    async def count(version: str) -> int:
        scanner = LayeredScanner(WordScanner(), cache=ReportCache(tmp_path, version))
        await gate_image(store, REPOSITORY, image.digest, scanner=scanner, emit=silent)
        return len(scanner.scanned)

    assert [await count("1"), await count("1"), await count("2")] == [2, 0, 2]
    for path in remembered(tmp_path):
        path.write_text("{")
    assert await count("1") == 2


async def test_exceptions() -> None:
    store = MemoryStore()
    image = await push_image(store, REPOSITORY, [layer({"etc/x/key": WORD})])
    ((_, judged),) = (await gate(store, image.digest)).judged
    fingerprint = judged.finding.fingerprint
    today = date(2026, 5, 1)

    async def refused(**changes: Any) -> bool:
        fields: dict[str, Any] = {
            "rule": "word", "path": "etc/*/key", "fingerprint": fingerprint, "reason": "r", "expires": today, **changes,
        }  # fmt: skip
        verdict = await gate(store, image.digest, exceptions=[Accepted(**fields)], today=today)
        return verdict.refused

    assert not await refused()
    assert await refused(rule="other")
    assert await refused(path="etc/x")
    assert await refused(fingerprint="0" * 12)
    assert await refused(expires=date(2026, 4, 30))


async def test_an_expired_exception_is_named() -> None:
    store = MemoryStore()
    image = await push_image(store, REPOSITORY, [layer({"k": WORD})])
    ((_, judged),) = (await gate(store, image.digest)).judged
    old = Accepted("word", "k", judged.finding.fingerprint, "was fine", date(2020, 1, 1))
    verdict = await gate(store, image.digest, exceptions=[old])
    with pytest.raises(Refused, match="expired"):
        check_verdicts([verdict])
    document = verdict.manifests[0].predicate(scanner="word 1", rules="0", finished_on="2026-01-01T00:00:00Z")
    assert (document["result"], document["findings"]["high"]) == ("FAILED", 1)


async def test_a_refusal_lists_every_finding_with_what_an_exception_needs() -> None:
    store = MemoryStore()
    image = await push_image(store, REPOSITORY, [layer({"etc/a": WORD, "etc/b": WORD})])
    verdict = await gate(store, image.digest)
    with pytest.raises(Refused) as refused:
        check_verdicts([verdict])
    for _, judged in verdict.judged:
        assert f"{judged.finding.rule} in {judged.finding.path}" in str(refused.value)
        assert f"fingerprint {judged.finding.fingerprint}" in str(refused.value)
    assert WORD.decode() not in str(refused.value)
    with pytest.raises(Refused) as short:
        check_verdicts([verdict], listed=True)
    assert "\n" not in str(short.value)


async def test_a_verdict_holds_as_long_as_its_rules_and_exceptions_do() -> None:
    store = MemoryStore()
    image = await push_image(store, REPOSITORY, [layer({"k": WORD})])
    ((_, judged),) = (await gate(store, image.digest)).judged
    today = date(2026, 5, 1)
    accepted = Accepted("word", "k", judged.finding.fingerprint, "a test", date(2026, 6, 1))
    verdict = await gate(store, image.digest, exceptions=[accepted], today=today)
    assert not verdict.refused
    said = verdict.manifests[0].predicate(scanner="word 1", rules="word 1+0", finished_on="2026-05-01T00:00:00Z")
    predicate = msgspec.json.decode(msgspec.json.encode(said))

    def holds(*exceptions: Accepted, rules: str = "word 1+0", day: date = today, document: Any = predicate) -> bool:
        return still_holds(document, rules=rules, exceptions=exceptions, today=day)

    assert holds(accepted)
    assert holds(accepted, day=date(2026, 6, 1))
    assert not holds(accepted, day=date(2026, 6, 2)), "expired"
    assert not holds(), "withdrawn"
    assert not holds(replace(accepted, reason="another"))
    assert not holds(accepted, rules="word 1+1"), "there are other rules now"
    broken: list[dict[str, Any]] = [{}, {"scanner": "word"}, {"scanner": predicate["scanner"]}]
    for document in (*broken, {**predicate, "exceptions": [1]}):
        assert not holds(accepted, document=document)
    clean = await push_image(store, REPOSITORY, [layer({"k": b"nothing"})])
    good = (await gate(store, clean.digest)).manifests[0].predicate(scanner="w 1", rules="word 1+0", finished_on="x")
    assert holds(document=good)


async def test_a_verdict_that_needs_no_exception_holds_though_one_has_expired() -> None:
    """Else the gate would pass a finding of low grade, and finalize refuse its verdict, for ever."""
    store, today = MemoryStore(), date(2026, 5, 1)
    image = await push_image(store, REPOSITORY, [layer({"k": WORD})])
    scanner = WordScanner(severity=Severity.LOW)
    ((_, judged),) = (await gate(store, image.digest, scanner)).judged
    old = Accepted("word", "k", judged.finding.fingerprint, "was fine", date(2020, 1, 1))
    verdict = await gate(store, image.digest, scanner, exceptions=[old], today=today)
    assert not verdict.refused
    said = verdict.manifests[0].predicate(scanner="word 1", rules="0", finished_on="2026-05-01T00:00:00Z")
    assert said["findings"]["low"] == 1
    assert still_holds(said, rules="0", exceptions=[old], today=today)


async def test_low_and_medium_do_not_fail() -> None:
    store = MemoryStore()
    image = await push_image(store, REPOSITORY, [layer({"k": WORD})])
    for severity in (Severity.MEDIUM, Severity.LOW):
        verdict = await gate(store, image.digest, WordScanner(severity=severity))
        assert not verdict.refused
        assert len(verdict.judged) == 1


def test_grades_that_nobody_knows_fail() -> None:
    assert of_confidence("certain").fails
    assert of_trivy("UNKNOWN").fails
    assert of_trivy("LOW") is Severity.LOW


class Forging(MemoryStore):
    """Gives another content than was asked for, or none."""

    def __init__(self, bad: Digest, error: Exception | None = None) -> None:
        super().__init__()
        self.bad, self.error = bad, error

    def blob(self, repository: str, descriptor: Descriptor) -> Any:
        if descriptor.digest == self.bad and self.error is not None:
            raise self.error
        opened = super().blob(repository, descriptor)
        if descriptor.digest == self.bad:
            self._blobs[repository, descriptor.digest] = b"x" * descriptor.size
        return opened


async def test_a_layer_with_a_wrong_digest_is_a_problem_of_its_image_alone() -> None:
    bad, good = layer({"bad": b"b" * 5000}), layer({"good": WORD})
    store = Forging(bad.descriptor.digest)
    first = await push_image(store, "acme/bad", [bad])
    second = await push_image(store, "acme/good", [good])
    subjects = [Subject("bad", "acme/bad", first.digest), Subject("good", "acme/good", second.digest)]
    verdicts = await gate_images(store, subjects, scanner=LayeredScanner(WordScanner()), emit=silent)
    assert [verdict.refused for verdict in verdicts] == [True, True]
    assert "expected sha256" in verdicts[0].manifests[0].problem
    assert len(verdicts[1].judged) == 1


@pytest.mark.parametrize("error", [RegistryUnavailable("away"), DigestMismatch("blob", want="a", got="b")])
async def test_an_error_of_the_store_never_looks_clean(error: Exception) -> None:
    bad = layer({"bad": b"b"})
    store = Forging(bad.descriptor.digest, error)
    image = await push_image(store, REPOSITORY, [bad])
    if isinstance(error, RegistryUnavailable):
        with pytest.raises(RegistryUnavailable):
            await gate(store, image.digest)
    else:
        assert (await gate(store, image.digest)).refused


async def test_an_artifact_like_the_payload() -> None:
    store = MemoryStore()
    content = layer({"install.sh": WORD}).content
    blob = Descriptor.of("application/vnd.x.payload.layer.v1+gzip", content)
    manifest = build_artifact("application/vnd.x.payload.v1", [blob])
    await store.push_blob(REPOSITORY, blob, from_bytes(content))
    await store.push_blob(REPOSITORY, manifest.config, from_bytes(b"{}"))
    await store.push_manifest(REPOSITORY, manifest)
    ((_, judged),) = (await gate(store, manifest.digest)).judged
    assert judged.finding.path == "install.sh"


def test_trivys_report() -> None:
    report = {
        "SchemaVersion": 2,
        "Results": [
            {"Target": "/etc/x", "Class": "secret", "Secrets": [
                {"RuleID": "github-pat", "Title": "GitHub", "Severity": "CRITICAL", "StartLine": 3, "Match": "a ****"},
                {"RuleID": "new", "Title": "?", "Severity": "AWFUL", "Match": "****"},
            ]},
            {"Target": "clean"},
            {"Target": "host/x@sha256:1", "Secrets": [{"RuleID": "env", "Severity": "LOW"}]},
        ],
    }  # fmt: skip
    found = read_report(report, "host/x@sha256:1")
    assert [(f.rule, str(f.severity), f.path) for f in found] == [
        ("trivy.env", "LOW", "(configuration)"),
        ("trivy.new", "HIGH", "/etc/x"),
        ("trivy.github-pat", "CRITICAL", "/etc/x"),
    ]
    with pytest.raises(Exception, match="schema version 2"):
        read_report({"SchemaVersion": 3})
