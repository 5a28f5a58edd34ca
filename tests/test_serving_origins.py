"""Who may send corrections: whose page it was, and under which name the service was reached."""

import socket

import pytest
from pydantic import ValidationError

from darkroom.serving import origins
from darkroom.serving.settings import ServeSettings
from darkroom.serving.uploads import RequestError

OWN = ["photos.example"]


def host(address: str, name: str | None = None) -> dict[str, str]:
    """Return the headers that a browser sends over plain http for a page at `address`."""
    return {"origin": f"http://{address}", "host": name or address}


ALLOWED = {
    "a program": {"host": "evil.example"},
    "an address": host("192.168.1.5:3000"),
    "an address of version 6": host("[fe80::1]:3000"),
    "this machine": host("localhost:3000"),
    "a name of this machine": host("a.localhost:3000"),
    "the machine's name": host(f"{socket.gethostname().lower()}:3000"),
    "a listed name": host("photos.example:8080"),
    "a listed name behind a proxy that changes Host": host("photos.example", "127.0.0.1:3000"),
    "a page over TLS": {"origin": "https://any.example", "host": "127.0.0.1:3000", "sec-fetch-site": "same-origin"},
    "a page on localhost": host("localhost:3000") | {"sec-fetch-site": "same-origin"},
}
REFUSED = {
    "a foreign name led here": (host("evil.example:3000"), "unknown_host", "serve.hosts"),
    "the same with Sec-Fetch-Site": (
        host("evil.example:3000") | {"sec-fetch-site": "same-origin"},
        "unknown_host",
        "evil.example",
    ),
    "a name that begins like an address": (host("127.0.0.1.evil.example"), "unknown_host", ""),
    "a name that ends like this machine": (host("evillocalhost"), "unknown_host", ""),
    "a name that ends like a listed one": (host("evilphotos.example"), "unknown_host", ""),
    "a proxy that changes Host": (host("other.example", "127.0.0.1:3000"), "cross_site", "proxy_set_header Host"),
    "another page": ({"origin": "http://evil.example", "host": "localhost:3000"}, "cross_site", ""),
    "another port": ({"origin": "http://localhost:4000", "host": "localhost:3000"}, "cross_site", ""),
    "another page over TLS": ({"origin": "https://evil.example", "sec-fetch-site": "cross-site"}, "cross_site", ""),
    "a sandboxed page": ({"origin": "null", "host": "null"}, "cross_site", ""),
    "no host": ({"origin": "http://"}, "cross_site", ""),
    "no address": ({"origin": "http://[", "host": "["}, "cross_site", ""),
    "a very long name": (host("x" * 9000), "unknown_host", ""),
}


@pytest.mark.parametrize("headers", ALLOWED.values(), ids=ALLOWED)
def test_our_page_and_programs_may_correct(headers: dict[str, str]) -> None:
    origins.check(headers, OWN)


@pytest.mark.parametrize(("headers", "code", "words"), REFUSED.values(), ids=REFUSED)
def test_other_pages_may_not(headers: dict[str, str], code: str, words: str) -> None:
    with pytest.raises(RequestError) as raised:
        origins.check(headers, OWN)
    assert (raised.value.status, raised.value.code) == (403, code)
    assert words in raised.value.message
    assert len(raised.value.message) < 500


@pytest.mark.parametrize("name", ["http://a", "a:3000", "A.example", "*", "a/", "", ".example"])
def test_hosts_are_names(name: str) -> None:
    with pytest.raises(ValidationError):
        ServeSettings(hosts=[name])
