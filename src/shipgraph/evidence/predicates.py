"""What evidence says, by kind: the types of predicates, how verdicts are written, and when one passes.

===========  =============================================================  ==================================
kind         predicate type                                                 passes if
===========  =============================================================  ==================================
provenance   ``https://slsa.dev/provenance/v1`` (SLSA 1.0)                  it names a build type and a builder
test         ``https://in-toto.io/attestation/test-result/v0.1`` (in-toto)  the result is PASSED or WARNED, at
                                                                            least one test passed, none failed
gate         ``urn:shipgraph:gate:v1`` (below)                              the result is PASSED, and something
                                                                            was scanned
===========  =============================================================  ==================================

A test that passed without everything it asked for being enforced (an AppArmor profile that the kernel doesn't know,
say) is in ``warnedTests``, and the result is WARNED.

The gate's predicate, since no public one fits a secret scan::

    {"scanner": {"name": …, "version": …, "rules": …},      # rules: the version of the rule set
     "result": "PASSED" | "FAILED",
     "finishedOn": RFC 3339,
     "scanned": {"blobs": N, "bytes": N},                   # layers and configurations that were looked at
     "findings": {"critical": N, "high": N, "medium": N, "low": N},   # left after exceptions; never a secret itself
     "exceptions": [{"rule": …, "reason": …, "expires": …}, …]}
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from shipgraph.evidence.requirements import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PROVENANCE: Final = "https://slsa.dev/provenance/v1"
TEST_RESULT: Final = "https://in-toto.io/attestation/test-result/v0.1"
GATE: Final = "urn:shipgraph:gate:v1"
PREDICATE_TYPES: Final[Mapping[Kind, str]] = {
    Kind.PROVENANCE: PROVENANCE,
    Kind.TEST: TEST_RESULT,
    Kind.GATE: GATE,
}
GRADES: Final = ("critical", "high", "medium", "low")


def gate_verdict(
    *,
    scanner: str,
    version: str,
    rules: str,
    passed: bool,
    finished_on: str,
    blobs: int,
    size: int,
    findings: Mapping[str, int],
    exceptions: Sequence[Mapping[str, str]] = (),
) -> dict[str, Any]:
    """The gate's predicate about one platform's image, or the payload."""
    return {
        "scanner": {"name": scanner, "version": version, "rules": rules},
        "result": "PASSED" if passed else "FAILED",
        "finishedOn": finished_on,
        "scanned": {"blobs": blobs, "bytes": size},
        "findings": {grade: findings.get(grade, 0) for grade in GRADES},
        "exceptions": [dict(exception) for exception in exceptions],
    }


def verdict_of_tests(
    *,
    passed: Sequence[str],
    warned: Sequence[str],
    failed: Sequence[str],
    configuration: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """The image tests' predicate about one platform's image (in-toto's test-result v0.1).

    Args:
        configuration: resource descriptors of what the tests were made from: the table of tests, the profiles.
    """
    result = "FAILED" if failed or not (passed or warned) else "WARNED" if warned else "PASSED"
    return {
        "result": result,
        "configuration": [dict(descriptor) for descriptor in configuration],
        "passedTests": list(passed),
        "warnedTests": list(warned),
        "failedTests": list(failed),
    }


def passes(kind: Kind, predicate: Mapping[str, Any]) -> bool:
    """Whether a predicate of a kind's type says yes; whatever can't be understood says no."""
    match kind:
        case Kind.PROVENANCE:
            definition, run = predicate.get("buildDefinition"), predicate.get("runDetails")
            builder = run.get("builder") if isinstance(run, dict) else None
            build_type = definition.get("buildType") if isinstance(definition, dict) else None
            builder_id = builder.get("id") if isinstance(builder, dict) else None
            return _is_text(build_type) and _is_text(builder_id)
        case Kind.TEST:
            good = [
                *_list(predicate.get("passedTests")),
                *_list(predicate.get("warnedTests")),
            ]
            return (
                predicate.get("result") in ("PASSED", "WARNED")
                and bool(good)
                and not _list(predicate.get("failedTests"))
            )
        case Kind.GATE:
            scanned = predicate.get("scanned")
            blobs = scanned.get("blobs") if isinstance(scanned, dict) else None
            return predicate.get("result") == "PASSED" and isinstance(blobs, int) and blobs > 0


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _list(value: Any) -> list[Any]:
    """A list, or a list of something unreadable, so that neither an absent nor a strange member looks clean."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
