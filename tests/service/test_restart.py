"""Details of a live stream that an earlier process received."""

from tests.service.installation import Installation, until, zoom_for


def test_details_of_the_webhook_are_known_after_a_restart(daemon: Installation) -> None:
    daemon.start()
    with zoom_for(daemon) as zoom:
        session = zoom.session("Ana", rtms_stream_id="live", session_key="room-7", details={"account_id": "Acct"})
        stream_id = session.rtms_stream_id
        assert daemon.stop() == 0
        daemon.start()
        until(lambda: daemon.states().get(stream_id) == "active")
        (listed,) = daemon.asked("ps")
        info = daemon.asked("inspect", stream_id)
        assert listed["details"] == info["details"]
        assert {"session_key": "room-7", "account_id": "Acct"}.items() <= info["details"].items()
        assert "room-7" in daemon.seen("ps").out
        assert "session_key room-7" in daemon.seen("inspect", stream_id).out
        assert daemon.stop() == 0
