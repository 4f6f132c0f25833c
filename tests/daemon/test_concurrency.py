"""The concurrency webhooks, from Zoom to status and metrics."""

from pathlib import Path

import pytest

from tests.daemon.whole import zoom_and_daemon


@pytest.mark.parametrize("event", ["rtms.concurrency_near_limit", "rtms.concurrency_limited"])
async def test_a_notice_is_a_warning_in_status_and_a_gauge(event: str, tmp_path: Path) -> None:
    details = {"concurrency_number": 1604, "operator_id": "op"}
    details |= {"concurrency_limit": 2000, "percentage": 80} if "near" in event else {"id_field": {"session_id": "s"}}
    async with zoom_and_daemon(tmp_path) as (sim, backend):
        assert backend.status()["warnings"] == []
        assert await sim.send_webhook(event, details) == 200
        [warning] = backend.status()["warnings"]
        assert "limit of concurrent streams" in warning
        assert "1604" in warning
        metrics = backend.metrics().decode()
        assert 'rtmsd_concurrency{app="main",kind="number"} 1604.0' in metrics
        assert f'rtmsd_concurrency{{app="main",kind="limit"}} {2000.0 if "near" in event else 0.0}' in metrics
