"""Gaps past their bound: joined, and never less missing than was."""

from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from rtmsd.recording.timeline import gaps as module
from rtmsd.recording.timeline.gaps import Gap, Gaps, list_gaps

MEDIA = st.sampled_from(["audio", "video"])
LOST = st.tuples(MEDIA, st.integers(1, 4), st.integers(0, 1000), st.integers(21, 80), st.sampled_from("ab"))
CAME = st.tuples(MEDIA, st.integers(1, 4), st.integers(0, 1000), st.integers(1, 200))


@given(st.lists(LOST, max_size=80))
def test_what_was_missing_stays_missing_of_that_person_or_of_all(lost: list[tuple[str, int, int, int, str]]) -> None:
    gaps = Gaps()
    with patch.object(module, "_MAX_GAPS", 12), patch.object(module, "_JOINED", 3):
        for media, user_id, from_ms, length_ms, cause in lost:
            gaps.missing(Gap(media, user_id, from_ms, from_ms + length_ms, cause))
            assert len([*gaps]) <= 12
    for media, user_id, from_ms, length_ms, cause in lost:
        assert any(
            gap.media == media
            and gap.cause == cause
            and gap.user_id in {None, user_id}
            and gap.from_ms <= from_ms
            and gap.to_ms >= from_ms + length_ms
            for gap in gaps
        )


@given(st.lists(st.one_of(LOST, CAME, st.integers(0, 1000)), max_size=60))
def test_the_end_of_the_last_gap_is_known_whatever_became_of_the_others(
    story: list[tuple[str, int, int, int, str] | tuple[str, int, int, int] | int],
) -> None:
    gaps = Gaps()
    with patch.object(module, "_MAX_GAPS", 12), patch.object(module, "_JOINED", 3):
        for event in story:
            match event:
                case int():
                    gaps.cut_off("audio", event, event + 50)
                case (media, user_id, from_ms, length_ms, cause):
                    gaps.missing(Gap(media, user_id if length_ms % 3 else None, from_ms, from_ms + length_ms, cause))
                case (media, user_id, from_ms, length_ms):
                    gaps.fill(media, user_id, from_ms, from_ms + length_ms)
            for media in ("audio", "video"):
                ends = [gap.to_ms for gap in gaps if gap.media == media]
                assert gaps.end_ms(media) == max(ends, default=float("-inf"))


def test_what_everybodys_goes_on_from_is_part_of_that_outage() -> None:
    of_5, of_6 = Gap("audio", 5, 10, 40, "media_reconnect"), Gap("audio", 6, 0, 30, "media_reconnect")
    lost, wider = Gap("audio", 7, 20, 40, "dropped"), "server_failover"
    listed = list_gaps([of_5, of_6, lost, Gap("audio", None, 40, 90, wider), Gap("video", None, 30, 90, wider)])
    assert listed is not None
    assert {gap.user_id: gap.cause for gap in listed[0] if gap.media == "audio"} == {
        None: wider,
        5: wider,
        6: "media_reconnect",
        7: "dropped",
    }
