"""The addresses of servers, as webhooks and message 2 name them: a URL, or several of different protocols."""

import re
from collections.abc import Iterable
from typing import Final

_SCHEMES: Final = ("wss://", "ws://")  # the second only the simulator uses
_ANY_SCHEME: Final = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]{0,15})://")
_SHOWN: Final = 4


def websocket_url(addresses: object) -> str | None:
    """Return the first `wss://` URL of a comma list, else its first `ws://`; None where there is neither."""
    urls = [url.strip() for url in addresses.split(",")] if isinstance(addresses, str) else []
    for scheme in _SCHEMES:
        for url in urls:
            if url.lower().startswith(scheme):
                return url
    return None


def shown_schemes(addresses: Iterable[str]) -> str:
    """Return what kinds of addresses there are, fit for a log: "srt://...", and nothing of the addresses themselves."""
    found = (_ANY_SCHEME.match(url) for each in addresses for url in each.split(","))
    schemes = dict.fromkeys(f"{match[1].lower()}://..." for match in found if match)
    return ", ".join([*schemes][:_SHOWN]) or "none of any kind"
