"""What is shown of URLs, and where redirects may lead."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shipgraph.errors import RegistryError
from shipgraph.oci.distribution import parse_challenge, parse_next_link
from shipgraph.remote.transport import Headers, proxy_for
from shipgraph.remote.url import SHOWN, follow, origin, redact, with_query


def test_only_listed_query_keys_are_shown() -> None:
    shown = redact("https://user:pw@cdn.example/blob?X-Amz-Signature=abc&digest=sha256:00&_state=xyz&sig=1#frag")
    assert shown == "https://cdn.example/blob?X-Amz-Signature=***&digest=sha256:00&_state=***&sig=***"


@given(st.text(max_size=60))
def test_redaction_never_fails(text: str) -> None:
    redact(text)
    redact(f"https://registry.example/{text}")


@given(st.text("abcdefgh_-", min_size=1, max_size=20))
def test_values_of_other_keys_are_hidden(key: str) -> None:
    assert ("topsecret" in redact(f"https://h/p?{key}=topsecret")) == (key in SHOWN)


@pytest.mark.parametrize(
    ("current", "location", "plain", "target"),
    [
        ("https://r/v2/a", "/v2/b?x=1", False, "https://r/v2/b?x=1"),
        ("https://r/v2/a", "https://cdn/x", False, "https://cdn/x"),
        ("http://127.0.0.1:5000/v2/a", "https://cdn/x", False, "https://cdn/x"),
        ("http://127.0.0.1:5000/v2/a", "http://localhost:6000/x", False, "http://localhost:6000/x"),
        ("http://r:80/v2/a", "http://cdn/x", True, "http://cdn/x"),
        ("https://r/v2/a", "http://cdn/x", False, None),
        ("https://r/v2/a", "http://127.0.0.1/x", False, None),
        ("https://r/v2/a", "http://cdn/x", True, None),
        ("http://127.0.0.1:5000/v2/a", "http://cdn/x", False, None),
        ("https://r/v2/a", "file:///etc/passwd", False, None),
        ("https://r/v2/a", "https://user:pw@cdn/x", False, None),
        ("https://r/v2/a", "https://h:bad/x", False, None),
        ("https://r/v2/a", "https://@/x", False, None),
    ],
)
def test_redirects(current: str, location: str, plain: bool, target: str | None) -> None:
    if target is None:
        with pytest.raises(RegistryError):
            follow(current, location, plain_http=plain)
    else:
        assert follow(current, location, plain_http=plain) == target


@given(st.text(max_size=80))
def test_a_hostile_location_leads_to_the_web_or_is_refused(location: str) -> None:
    with suppress(RegistryError):
        assert origin(follow("https://r.example/v2/", location, plain_http=False))[0] == "https"


def test_a_query_is_added_behind_what_is_there() -> None:
    assert with_query("https://r/u?_state=a%2Fb", digest="sha256:1") == "https://r/u?_state=a%2Fb&digest=sha256:1"
    assert with_query("https://r/u", digest="sha256:1") == "https://r/u?digest=sha256:1"


@given(st.text(max_size=120))
def test_headers_of_any_kind_parse_or_are_nothing(text: str) -> None:
    parse_challenge(text)
    parse_challenge(f"Bearer {text}")
    parse_next_link(text)
    parse_next_link(f"<{text}>; rel=next")


@given(st.lists(st.tuples(st.sampled_from(["A", "a", "B"]), st.text("xyz", max_size=3))))
def test_repeated_headers_are_joined_and_kept(pairs: list[tuple[str, str]]) -> None:
    headers = Headers(pairs)
    assert headers.all("a") == tuple(value for name, value in pairs if name in "Aa")
    if headers.all("a"):
        assert headers["A"] == ", ".join(headers.all("a"))
    assert "c" not in headers


def test_proxies_come_from_the_environment_but_never_for_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    assert proxy_for("https", "ghcr.io") is None
    monkeypatch.setenv("https_proxy", "proxy.example:3128")
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "internal.example")
    assert proxy_for("https", "ghcr.io") == "http://proxy.example:3128"
    assert proxy_for("https", "r.internal.example:5000") is None
    assert proxy_for("http", "127.0.0.1:5000") is None
    assert proxy_for("http", "localhost:5000") is None
    assert proxy_for("https", "[::1]:5000") is None
