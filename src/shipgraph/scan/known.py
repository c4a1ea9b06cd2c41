"""Keys that everybody has: they are compiled into libraries that nearly every image holds, and protect nothing.

By fingerprint, so another key in the same file is still found. They are reported as LOW. An entry needs the place in
that library's public source, and a test that finds it there: tests/e2e/gate/test_known.py reads these ten out of
Debian's source package and out of its library.
"""

from __future__ import annotations

from typing import Final

_GNUTLS: Final = "known test key of GnuTLS (lib/crypto-selftests-pk.c)"
KNOWN: Final[dict[str, str]] = dict.fromkeys(
    (
        "a8f923f1941c",
        "27d3feb4f497",
        "766d7ee0f8b4",
        "2cb5f5a9e059",
        "2d6abcc68592",
        "3bf2acb6df8b",
        "163e322f82bb",
        "7689dde557eb",
        "20bbc481f3da",
        "9e4cf1077d13",
    ),
    _GNUTLS,
)
