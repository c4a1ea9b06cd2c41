"""What a Dockerfile says is read as BuildKit reads it, and nothing that stands in one is an error."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipgraph.setup.init_dockerfile import expand, parse_dockerfile


def test_stages_lead_back_to_what_the_image_is_built_on() -> None:
    found = parse_dockerfile(
        """\
# syntax=docker/dockerfile:1
ARG GO=1.22
FROM --platform=$BUILDPLATFORM golang:${GO} AS tools
FROM debian:12 as Base
FROM base AS middle
COPY --from=tools /x /x
FROM middle
"""
    )
    assert [(stage.image, stage.name) for stage in found.stages] == [
        ("golang:1.22", "tools"), ("debian:12", "Base"), ("base", "middle"), ("middle", ""),
    ]  # fmt: skip
    assert found.origin is not None
    assert (found.origin.image, found.origin.line) == ("debian:12", 4)
    assert not found.takes_base
    assert found.copied == ()


@pytest.mark.parametrize("written", ["$BASE_IMAGE", "${BASE_IMAGE}", "${BASE_IMAGE:-debian}", '"${BASE_IMAGE}"'])
def test_who_takes_the_base_that_shipgraph_gives(written: str) -> None:
    assert parse_dockerfile(f"ARG BASE_IMAGE=debian\nFROM {written} AS a\nFROM a\n").takes_base
    assert not parse_dockerfile(f"ARG BASE_IMAGE=debian\nFROM {written} AS a\nFROM alpine\n").takes_base


@pytest.mark.parametrize("written", ["${BASE_IMAGE}-slim", "$BASE_IMAGES", "debian"])
def test_who_does_not(written: str) -> None:
    assert not parse_dockerfile(f"ARG BASE_IMAGE=debian\nFROM {written}\n").takes_base


def test_here_documents_hold_no_instructions() -> None:
    found = parse_dockerfile(
        "FROM alpine\n"
        "RUN <<EOF cat <<-'OTHER'\nFROM evil\nEOF\n\tFROM worse\n\tOTHER\n"
        'COPY <<"END" /etc/x\nFROM bad\nEND\n'
        "RUN cat <<<FROM\n"
        "RUN echo 1 <<2\n"
        "FROM debian\n"
    )
    assert [stage.image for stage in found.stages] == ["alpine", "debian"]


def test_a_here_document_without_an_end_hides_nothing() -> None:
    assert len(parse_dockerfile("FROM a\nRUN cat <<EOF\nFROM b\n").stages) == 2


def test_lines_go_on_over_comments_and_with_the_escape_that_was_declared() -> None:
    assert [s.image for s in parse_dockerfile("FROM \\\n# no\n\n  alpine\nFROM b").stages] == ["alpine", "b"]
    assert [s.image for s in parse_dockerfile("# escape=`\nFROM `\n  alpine\n").stages] == ["alpine"]
    assert [s.image for s in parse_dockerfile("# a comment\n# escape=`\nFROM \\\n  alpine\n").stages] == ["alpine"]


def test_secrets_files_and_arguments() -> None:
    found = parse_dockerfile(
        """\
ARG KNOWN
FROM alpine
ARG KNOWN
ARG NEEDED OTHER="a b"
ARG TARGETARCH
RUN --mount=type=cache,target=/c --mount=type=secret,id=npmrc,target=/x npm ci
RUN --mount=id=ca,type=secret --network=none true --mount=type=secret,id=not
COPY --chmod=0644 a.txt b.txt /x/
COPY ["with space.txt", "/x/"]
ADD https://example.org/x ${SRC} local.tar /y
COPY <<EOF /z
EOF
"""
    )
    assert found.secrets == ("npmrc", "ca")
    assert found.copied == ("a.txt", "b.txt", "with space.txt", "local.tar")
    assert found.needed == ("NEEDED", "TARGETARCH")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("$A", "x"), ("${A}", "x"), ("${A:-y}", "x"), ("${E:-y}", "y"), ("${E-y}", ""), ("${U-y}", "y"),
        ("${U:-y}", "y"),
        ("${A:+y}", "y"), ("${E:+y}", ""), ("${E+y}", "y"), ("${U+y}", ""), ("${U}", ""), ("a$A-b", "ax-b"), ("$", "$"),
        ("${", "${"), ("$1", "$1"),
    ],
)  # fmt: skip
def test_variables(text: str, wanted: str) -> None:
    assert expand(text, {"A": "x", "E": "", "N": None}) == wanted


@given(st.text() | st.text(st.sampled_from("FROMARGUN <-\\#\n`${}\"'=:[]EOF\t")))
def test_no_text_is_an_error(text: str) -> None:
    parse_dockerfile(text)


WORDS = st.text(st.sampled_from("abcxyz019-_./"), min_size=1, max_size=12).filter(lambda word: word[0].isalpha())
NOISE = st.sampled_from(
    [
        "",
        "   ",
        "# FROM nothing",
        "RUN true",
        "RUN echo FROM x \\\n  FROM y",
        "RUN <<EOF\nFROM z\nEOF",
        "COPY <<-E1 <<E2 /d/\n\tFROM q\n\tE1\nFROM r\nE2",
        'LABEL a="FROM b"',
        "ONBUILD RUN x",
        "RUN a \\\n# FROM c\n\n b",
    ]
)


@dataclass(frozen=True)
class Written:
    """A stage, and how it is written."""

    image: str
    name: str
    text: str


@st.composite
def stages(draw: st.DrawFn) -> Written:
    image, name = draw(WORDS), draw(st.just("") | WORDS)
    word = draw(st.sampled_from(["FROM", "from", "From"]))
    gap = draw(st.sampled_from([" ", "  ", "\t", " \\\n ", " \\\n# c\n\n "]))
    platform = draw(st.sampled_from(["", f"--platform=linux/amd64{gap}"]))
    tail = f"{gap}{draw(st.sampled_from(['AS', 'as']))}{gap}{name}" if name else ""
    return Written(image, name, f"{draw(st.sampled_from(['', '  ']))}{word}{gap}{platform}{image}{tail}")


@given(
    st.lists(st.tuples(stages(), st.lists(NOISE, max_size=3)), min_size=1, max_size=5), st.sampled_from(["\n", "\r\n"])
)
def test_stages_are_found_whatever_stands_around_them(pieces: list[tuple[Written, list[str]]], end: str) -> None:
    text = "\n".join(line for stage, noise in pieces for line in (stage.text, *noise)).replace("\n", end)
    found = parse_dockerfile(text)
    assert [(stage.image, stage.name) for stage in found.stages] == [(one.image, one.name) for one, _ in pieces]
