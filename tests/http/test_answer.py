"""The bytes of an answer's head."""

import h11
import pytest

from rtmsd.http.answer import head_bytes, http_date
from rtmsd.http.head import asks_to_close


def test_h11_reads_the_head_as_it_was_meant() -> None:
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
    client.receive_data(head_bytes(404, {"content-length": "0", "date": http_date(), "x-name": "Zo\xeb"}))
    response = client.next_event()
    assert isinstance(response, h11.Response)
    assert (response.status_code, response.reason) == (404, b"Not Found")
    assert [name for name, _ in response.headers] == [b"content-length", b"date", b"x-name"]
    assert isinstance(client.next_event(), h11.EndOfMessage)


@pytest.mark.parametrize(("name", "value"), [("a", "1\r\nb: 2"), ("a", "1\nb: 2"), ("a\r\nb", "1"), ("a", "\0")])
def test_no_value_can_forge_a_field(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="control character"):
        head_bytes(200, {name: value})


@pytest.mark.parametrize(
    ("version", "connection", "closes"),
    [("1.1", "keep-alive", False), ("1.1", "x, Close", True), ("1.0", "x", True), ("1.1", "not-close", False)],
)
def test_when_a_client_asks_to_close(version: str, connection: str, closes: bool) -> None:
    headers = [("host", "x"), ("connection", connection)]
    assert asks_to_close(h11.Request(method="GET", target="/", headers=headers, http_version=version)) is closes
