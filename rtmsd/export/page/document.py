"""The document `page.html`: markup, style and script in one file, the data of a recording in between."""

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterable, Iterator
from importlib import resources
from typing import Any, Final

_HASHED: Final = "'sha256-{}'"
_encode: Final = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), default=lambda content: base64.b64encode(content).decode()
).encode
_HALVES: Final = re.compile("[\ud800-\udfff]")


def _policy(script: str, style: str) -> str:
    """Return the content security policy: this script and this style run, sound may be read, and nothing else."""
    digests = [
        _HASHED.format(base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()) for text in (script, style)
    ]
    sound = "data: 'self' file:"  # under file: a browser may not take a file beside the page for 'self'
    return f"default-src 'none'; script-src {digests[0]}; style-src {digests[1]}; media-src {sound}; base-uri 'none'"


def _in_script(data: dict[str, Any]) -> Iterator[str]:
    """Yield an object in pieces, of lists the items, as the whole of many hours takes much memory."""
    for number, (key, value) in enumerate(data.items()):
        yield f"{',' if number else '{'}{_json(key)}:"
        if isinstance(value, list):
            for count, item in enumerate(value):
                yield f"{',' if count else '['}{_json(item)}"
            yield "]" if value else "[]"
        else:
            yield _json(value)
    yield "}"


def _json(value: Any) -> str:
    """Return JSON that cannot end the script element which holds it."""
    text = _encode(value)
    # A lone surrogate cannot be written as UTF-8; as an escape it can.
    text = _HALVES.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return text.replace("<", "\\u003c")


def _table(name: str, title: str, columns: Iterable[str], rows: int, *, is_open: bool) -> str:
    if not rows:
        return ""
    heads = "".join(f'<th scope="col">{column}</th>' for column in columns)
    return (
        f'<details id="{name}"{" open" if is_open else ""}><summary>{title} ({rows})</summary>'
        f'<div class="table"><table><thead><tr>{heads}</tr></thead></table></div></details>\n'
    )


def document(
    data: dict[str, Any], heading: str, facts: Iterable[str], note: str, sound: Iterable[str]
) -> Iterator[str]:
    """Yield the page in pieces.

    Args:
        data: see `data`; what the script reads, bytes in base64.
        heading: title of the page; text, as are the facts below it and the note beside the player.
        sound: the source of the audio element in pieces, an URL; none: there is no audio.
    """
    here = resources.files(__package__)
    script, style = (here / "page.js").read_text(), (here / "page.css").read_text()
    title = html.escape(heading)
    yield (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(script, style)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{style}</style>\n"
        f"<header><h1><bdi>{title}</bdi></h1>\n"
    )
    yield "".join(f"<p><bdi>{html.escape(fact)}</bdi></p>\n" for fact in facts)
    yield '</header>\n<div id="bar">'
    begun = False
    for piece in sound:
        if not begun:
            yield '<audio controls preload="metadata" src="'
            begun = True
        yield html.escape(piece)
    if begun:
        yield '"></audio>'
    yield f'<span id="clock"></span><span id="note">{html.escape(note)}</span></div>\n'
    yield (
        '<main><section aria-label="Timeline"><div id="lanes">'
        '<div id="head"></div><div id="chosen" hidden></div></div>\n'
    )
    yield _table("gaps", "Gaps and pauses", ("From", "Lasting", "What", "Concerns"), len(data["gaps"]), is_open=True)
    yield _table("chat", "Chat", ("Time", "Who", "Text"), len(data["chat"]), is_open=False)
    yield _table("events", "Events", ("Time", "What", "Of", "Details"), len(data["events"]), is_open=False)
    yield (
        '</section>\n<section id="side" aria-label="Transcript">'
        '<input id="search" type="search" placeholder="Search" aria-label="Search the transcript">'
        '<div id="found" aria-live="polite"></div><ol id="list"></ol></section></main>\n'
    )
    yield '<script type="application/json" id="data">'
    yield from _in_script(data)
    yield f"</script>\n<script>{script}</script>\n</html>\n"
