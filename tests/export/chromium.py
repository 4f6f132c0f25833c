"""A headless Chromium, driven by its DevTools protocol, for tests of pages."""

import base64
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import trio
from trio_websocket import WebSocketConnection, open_websocket_url

PROGRAM: Final = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

_OPTIONS: Final = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-extensions", "--mute-audio", "--disable-quic",
    "--autoplay-policy=no-user-gesture-required", "--remote-debugging-port=0", "--hide-scrollbars",
)  # fmt: skip


class Page:
    """A page in the browser.

    Attributes:
        complaints: what the console said, uncaught exceptions, and violations of the page's own policy.
        requests: the URLs that were asked for, `data:` ones apart.
    """

    def __init__(self, connection: WebSocketConnection) -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self._connection = connection
        self._number = 0
        self._loaded = trio.Event()

    async def _ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        number = self._number
        await self._connection.send_message(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(await self._connection.get_message())
            if message.get("id") == number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        match message.get("method"):
            case "Runtime.consoleAPICalled":
                self.complaints.append(json.dumps(params["args"]))
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(params["exceptionDetails"]))
            case "Log.entryAdded":
                self.complaints.append(params["entry"]["text"])
            case "Network.requestWillBeSent" if not params["request"]["url"].startswith("data:"):
                self.requests.append(params["request"]["url"])
            case "Page.loadEventFired":
                self._loaded.set()
            case _:
                pass

    async def open(self, url: str) -> None:
        """Load a page, and wait until it is loaded."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self._ask(f"{domain}.enable")
        self._loaded = trio.Event()
        await self._ask("Page.navigate", url=url)
        while not self._loaded.is_set():
            self._note(json.loads(await self._connection.get_message()))

    async def value(self, expression: str) -> Any:
        """Return what a JavaScript expression is worth; a promise is waited for."""
        result = await self._ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def click(self, x: float, y: float, *, count: int = 1) -> None:
        await self.drag(x, y, x, y, count=count)

    async def drag(self, x: float, y: float, to_x: float, to_y: float, *, count: int = 1) -> None:
        for kind, at in (("mousePressed", (x, y)), ("mouseMoved", (to_x, to_y)), ("mouseReleased", (to_x, to_y))):
            await self._ask(
                "Input.dispatchMouseEvent", type=kind, x=at[0], y=at[1], button="left", buttons=1, clickCount=count
            )

    async def key(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            await self._ask("Input.dispatchKeyEvent", type=kind, key=key)

    async def tap(self, x: float, y: float) -> None:
        await self._ask("Emulation.setTouchEmulationEnabled", enabled=True)
        await self._ask("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        await self._ask("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    async def told(self) -> list[tuple[str, str]]:
        """Return what a screen reader hears of: roles and names."""
        nodes = (await self._ask("Accessibility.getFullAXTree"))["nodes"]
        heard = [node for node in nodes if not node["ignored"]]
        return [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in heard]

    async def look(self, width: int, height: int, *, dark: bool = False) -> None:
        """Give the window a size, and the reader a taste."""
        await self._ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self._ask("Emulation.setEmulatedMedia", features=[scheme])

    async def screenshot(self, path: Path) -> None:
        shot = await self._ask("Page.captureScreenshot", format="png", captureBeyondViewport=False)
        await trio.Path(path.parent).mkdir(parents=True, exist_ok=True)
        await trio.Path(path).write_bytes(base64.b64decode(shot["data"]))


@asynccontextmanager
async def chromium(profile: Path) -> AsyncIterator[Page]:
    """Start the browser with an empty profile; yields its one page."""
    assert PROGRAM is not None
    command = [PROGRAM, *_OPTIONS, f"--user-data-dir={profile}", "about:blank"]
    async with trio.open_nursery() as nursery:
        process = await trio.lowlevel.open_process(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert process.stderr is not None
        try:
            with trio.fail_after(60):
                port = await _port(process.stderr)
                nursery.start_soon(_drain, process.stderr)
                targets = await trio.to_thread.run_sync(_targets, port)
                url = next(target["webSocketDebuggerUrl"] for target in targets if target["type"] == "page")
                async with open_websocket_url(url, max_message_size=2**26) as connection:
                    yield Page(connection)
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
            nursery.cancel_scope.cancel()


async def _port(errors: trio.abc.ReceiveStream) -> str:
    heard = b""
    while (found := re.search(rb"DevTools listening on ws://[^:]+:(\d+)/", heard)) is None:
        more = await errors.receive_some()
        assert more, heard
        heard += more
    return found[1].decode()


async def _drain(errors: trio.abc.ReceiveStream) -> None:
    async for _ in errors:
        pass


def _targets(port: str) -> Any:
    return httpx.get(f"http://127.0.0.1:{port}/json/list").json()
