"""A real nginx in front of the webhook, with connections that it keeps open."""

import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import attrs
import httpx
import pytest
import trio

from rtmsd.commands import StreamCommand, Verdict
from rtmsd.config import WebhookConfig
from rtmsd.http.messages import IDLE_S
from rtmsd.webhook import server
from rtmsd.webhook.app import make_app
from rtmsd.webhook.stats import WebhookStats

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
IDLE_OF_NGINX_S = 60  # its default for connections to a server
LANES = range(10)  # at the same time, each with an upstream connection of its own
DELAYS_S = [0.09 + 0.001 * number for number in range(20)]  # from just before nginx's limit to just after
CONFIG = """\
daemon off; master_process off; pid {at}/pid; error_log {at}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {at}/b; proxy_temp_path {at}/p; fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u;
    scgi_temp_path {at}/s;
    proxy_http_version 1.1; proxy_set_header Connection "";
    {upstreams}
    server {{
        listen unix:{at}/front.sock;
        {locations}
    }}
}}
"""
UPSTREAM = "upstream rtmsd{lane} {{ server 127.0.0.1:{rtmsd}; keepalive 1; keepalive_timeout 100ms; }}"
LOCATION = "location = /{lane} {{ proxy_pass http://rtmsd{lane}/webhook; }}"


@attrs.define
class Intake:
    async def accept(self, command: StreamCommand) -> Verdict:
        raise AssertionError(command)


@pytest.fixture
async def front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Path]:
    """nginx and the webhook, with both idle limits cut to the same part: nginx's 60 s are 100 ms."""
    monkeypatch.setattr(server, "IDLE_S", 0.1 * IDLE_S / IDLE_OF_NGINX_S)
    settings = WebhookConfig(listen="127.0.0.1:0")
    shutdown, stats = trio.Event(), WebhookStats()
    async with trio.open_nursery() as nursery:
        app = make_app(settings, lambda: (), Intake(), nursery, lambda: True, stats=stats)
        [address] = await nursery.start(partial(server.serve, app, settings, stats=stats, shutdown=shutdown))
        config = tmp_path / "nginx.conf"
        port = address.rpartition(":")[2]
        upstreams = "\n".join(UPSTREAM.format(lane=lane, rtmsd=port) for lane in LANES)
        locations = "\n".join(LOCATION.format(lane=lane) for lane in LANES)
        config.write_text(CONFIG.format(at=tmp_path, upstreams=upstreams, locations=locations))
        command = [str(NGINX), "-p", str(tmp_path), "-c", str(config)]
        process = await trio.lowlevel.open_process(command, stderr=subprocess.DEVNULL)
        try:
            with trio.fail_after(60):
                while not is_listening(tmp_path / "front.sock"):  # noqa: ASYNC110 another process: no event
                    await trio.sleep(0.02)
            yield tmp_path / "front.sock"
        finally:
            process.terminate()
            with trio.CancelScope(shield=True):
                await process.wait()
        shutdown.set()


def is_listening(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed here (apt-get install nginx-light)")
async def test_two_hundred_posts_timed_around_the_idle_limit_meet_no_502(front: Path) -> None:
    transport = httpx.AsyncHTTPTransport(uds=str(front))
    answers: list[int] = []
    async with httpx.AsyncClient(transport=transport, base_url="http://x", trust_env=False) as client:

        async def post(lane: int) -> None:
            for delay_s in DELAYS_S:
                answers.append((await client.post(f"/{lane}", content=b"{}")).status_code)
                await trio.sleep(delay_s)

        async with trio.open_nursery() as nursery:
            for lane in LANES:
                nursery.start_soon(post, lane)
    assert answers == [401] * len(LANES) * len(DELAYS_S)
