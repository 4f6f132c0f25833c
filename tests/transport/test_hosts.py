"""URLs of servers: which are allowed, and how they are taken apart."""

import socket

import pytest

from rtmsd.errors import ForbiddenHost
from rtmsd.transport.hosts import Target, check_url

ALLOWED = ("*.zoom.us", "one.example", "127.0.0.1", "[::1]", "*.Müller.example.")


@pytest.mark.parametrize(
    ("url", "target", "host_header"),
    [
        ("wss://a.zoom.us", Target("a.zoom.us", 443, "/", True), "a.zoom.us"),
        (
            "wss://a.b.zoom.us:8443/x/y?z=1&w=%20",
            Target("a.b.zoom.us", 8443, "/x/y?z=1&w=%20", True),
            "a.b.zoom.us:8443",
        ),
        ("WSS://A.Zoom.US./x#part", Target("a.zoom.us", 443, "/x", True), "a.zoom.us"),
        ("wss://one.example?q", Target("one.example", 443, "/?q", True), "one.example"),
        ("wss://127.0.0.1:9443/signal", Target("127.0.0.1", 9443, "/signal", True), "127.0.0.1:9443"),
        ("wss://[0:0::1]:9/", Target("::1", 9, "/", True), "[::1]:9"),
        ("wss://x.müller.example/", Target("x.xn--mller-kva.example", 443, "/", True), "x.xn--mller-kva.example"),
        (
            "wss://x.xn--mller-kva.example/",
            Target("x.xn--mller-kva.example", 443, "/", True),
            "x.xn--mller-kva.example",
        ),
        ("wss://a。zoom。us/", Target("a.zoom.us", 443, "/", True), "a.zoom.us"),
    ],
)
def test_allowed(url: str, target: Target, host_header: str) -> None:
    assert check_url(url, ALLOWED, allow_plain_ws=False) == target
    assert target.host_header == host_header


@pytest.mark.parametrize(
    ("host", "family"),
    [
        ("127.0.0.1", socket.AF_INET),
        ("::1", socket.AF_INET6),
        ("a.zoom.us", None),
        ("1.2.3.zoom.us", None),
        ("1.2.3", None),
    ],
)
def test_the_family_of_an_address(host: str, family: socket.AddressFamily | None) -> None:
    assert Target(host, 443, "/", True).family is family


@pytest.mark.parametrize(
    ("url", "names"),
    [
        ("wss://zoom.us/", "'zoom.us' is not among zoom.allowed_hosts"),
        ("wss://evilzoom.us/", "'evilzoom.us' is not among"),
        ("wss://a.zoom.us.evil.example/", "'a.zoom.us.evil.example' is not among"),
        ("wss://evil.example/.zoom.us", "'evil.example' is not among"),
        ("wss://evil.example#.zoom.us", "'evil.example' is not among"),
        ("wss://evil.example?.zoom.us", "'evil.example' is not among"),
        ("wss://sub.one.example/", "'sub.one.example' is not among"),
        ("wss://127.0.0.2/", "'127.0.0.2' is not among"),
        ("wss://2130706433/", "'2130706433' is not among"),
        ("wss://[::2]/", "'::2' is not among"),
        ("ws://a.zoom.us/", "zoom.allow_plain_ws"),
        ("https://a.zoom.us/", "not a WebSocket URL"),
        ("wss://me@a.zoom.us/", "user name"),
        ("wss://me:pw@a.zoom.us/", "user name"),
        ("wss://a.zoom.us@evil.example/", "user name"),
        ("wss://evil.example\\@a.zoom.us/", "malformed"),
        ("wss://a.zoom.us\n.evil.example/", "malformed"),
        ("wss://a.zoom.us/a b", "malformed"),
        ("wss://a.zoom.us/ü", "malformed"),
        ("wss://a.zoom.us:0/", "malformed"),
        ("wss://a.zoom.us:99999/", "not a URL"),
        ("wss://a..zoom.us/", "not a URL"),
        ("wss://.zoom.us/", "not a URL"),
        ("wss://a.zoom.us../", "not a URL"),
        ("wss://-a.zoom.us/", "not a URL"),
        (f"wss://{'a' * 64}.zoom.us/", "not a URL"),
        (f"wss://{'a.' * 125}zoom.us/", "not a URL"),
        ("wss://a%2ezoom.us/", "not a URL"),
        ("wss://[::1/", "not a URL"),
        ("wss:///x", "not a URL"),
        ("", "not a URL"),
    ],
)
def test_refused(url: str, names: str) -> None:
    with pytest.raises(ForbiddenHost, match=names):
        check_url(url, ALLOWED, allow_plain_ws=False)


def test_plain_ws_where_it_is_allowed() -> None:
    assert check_url("ws://127.0.0.1/x", ALLOWED, allow_plain_ws=True) == Target("127.0.0.1", 80, "/x", False)
    assert check_url("ws://127.0.0.1:81/", ALLOWED, allow_plain_ws=True).host_header == "127.0.0.1:81"


def test_the_refusal_keeps_the_rest_of_the_url_to_itself() -> None:
    with pytest.raises(ForbiddenHost) as refused:
        check_url("wss://evil.example/path?token=hush", ALLOWED, allow_plain_ws=False)
    assert "hush" not in str(refused.value)
