"""The matrix of media parameters, defaults and fallbacks, negotiation, and the choice of a URL."""

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmsd.errors import RemoteProtocolError
from rtmsd.protocol.enums import MediaType, PayloadType, StatusCode
from rtmsd.protocol.media_matrix import check
from rtmsd.protocol.media_params import (
    DEFAULTS,
    AudioFormat,
    AudioParams,
    ChatParams,
    DeskshareParams,
    Difference,
    MediaParams,
    TranscriptParams,
    VideoParams,
    audio_format,
    choose_url,
    differences,
    negotiated,
    only,
    with_defaults,
)
from rtmsd.protocol.media_types import SECTIONS

S = StatusCode


def statuses(types: MediaType, **sections: Any) -> list[StatusCode]:
    return [mistake.status for mistake in check(MediaParams(**sections), types)]


# Audio: (content type, codec) -> allowed sample rates, channels, send rates. Written out again, as Zoom prints it.
AUDIO_MATRIX = {
    (1, 4): ({3}, {1, 2}, {20}),
    (1, 2): ({0}, {1}, {20}),
    (1, 3): ({1}, {1}, {20}),
    (2, 1): ({0, 1, 2, 3}, {1, 2}, set(range(20, 1001, 20))),
    (2, 4): ({3}, {1, 2}, {20}),
    (2, 2): ({0}, {1}, {20}),
    (2, 3): ({1}, {1}, {20}),
}


@given(
    content_type=st.integers(0, 3),
    codec=st.integers(0, 5),
    sample_rate=st.integers(-1, 4),
    channel=st.integers(0, 3),
    send_rate=st.sampled_from([0, 10, 20, 30, 40, 980, 1000]),
    data_opt=st.integers(0, 3),
)
def test_audio_is_valid_exactly_when_the_matrix_says_so(**fields: int) -> None:
    rates, channels, send_rates = AUDIO_MATRIX.get((fields["content_type"], fields["codec"]), (set(), set(), set()))
    valid = (
        fields["sample_rate"] in rates
        and fields["channel"] in channels
        and fields["send_rate"] in send_rates
        and fields["data_opt"] in {1, 2}
    )
    found = statuses(MediaType.AUDIO, audio=AudioParams(**fields))
    assert (not found) == valid
    assert found == sorted(found)


@pytest.mark.parametrize(
    ("audio", "expected"),
    [
        ({}, []),
        ({"content_type": 1}, [S.INVALID_MEDIA_AUDIO_CONTENT_TYPE]),  # RTP with L16, which samples of Zoom's send
        ({"content_type": 5}, [S.INVALID_MEDIA_AUDIO_CONTENT_TYPE]),
        ({"sample_rate": 16000}, [S.INVALID_MEDIA_AUDIO_SAMPLE_RATE]),
        ({"codec": 9}, [S.INVALID_MEDIA_AUDIO_CODEC]),
        ({"channel": 3}, [S.INVALID_MEDIA_AUDIO_CHANNEL]),
        ({"data_opt": 4}, [S.INVALID_MEDIA_AUDIO_DATA_OPT]),
        ({"send_rate": 30}, [S.INVALID_MEDIA_AUDIO_SEND_RATE]),
        ({"send_rate": 10}, [S.INVALID_MEDIA_AUDIO_SEND_RATE]),
        ({"send_rate": 5000}, []),  # the server makes it 1000
        ({"codec": 3, "sample_rate": 0, "channel": 2}, [20, 21]),
    ],
)
def test_a_bad_audio_field_has_its_own_status(audio: dict[str, int], expected: list[int]) -> None:
    assert statuses(MediaType.AUDIO, audio=AudioParams(**audio)) == expected


@pytest.mark.parametrize(
    ("video", "expected"),
    [
        ({}, []),
        ({"fps": 25}, []),  # no codec: the server falls back to 5 fps
        ({"fps": 25, "codec": 7}, []),
        ({"fps": 5, "codec": 7}, []),
        ({"fps": 5, "codec": 6}, []),
        ({"fps": 25, "codec": 5}, [27]),
        ({"fps": 31, "codec": 7}, [30]),
        ({"fps": 31, "codec": 5}, [30]),
        ({"fps": 0}, [30]),
        ({"codec": 1}, [27]),
        ({"resolution": 5}, [28]),
        ({"data_opt": 5}, [29]),
        ({"data_opt": 4}, []),
        ({"content_type": 2}, [26]),
    ],
)
def test_video(video: dict[str, int], expected: list[int]) -> None:
    assert statuses(MediaType.VIDEO, video=VideoParams(**video)) == expected


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        ({}, []),
        ({"fps": 5, "codec": 5}, []),
        ({"fps": 6, "codec": 5}, [33]),
        ({"fps": 30, "codec": 7}, []),
        ({"fps": 31, "codec": 7}, [35]),
        ({"codec": 2}, [33]),
        ({"resolution": 0}, [34]),
        ({"content_type": 5}, [32]),
    ],
)
def test_share(share: dict[str, int], expected: list[int]) -> None:
    assert statuses(MediaType.DESKSHARE, deskshare=DeskshareParams(**share)) == expected


def test_transcript_and_chat() -> None:
    types = MediaType.TRANSCRIPT | MediaType.CHAT
    assert not statuses(types, transcript=TranscriptParams(src_language=-1, enable_lid=False))
    assert statuses(types, transcript=TranscriptParams(src_language=37)) == [43]
    assert statuses(types, transcript=TranscriptParams(content_type=2), chat=ChatParams(content_type=2)) == [37, 39]


def test_a_mistake_says_what_is_allowed() -> None:
    (mistake,) = check(MediaParams(audio=AudioParams(codec=PayloadType.G722, sample_rate=0)), MediaType.AUDIO)
    assert (mistake.media, mistake.field, mistake.message) == ("audio", "sample_rate", "must be 16000 Hz with G722")
    (mistake,) = check(MediaParams(audio=AudioParams(send_rate=30)), MediaType.AUDIO)
    assert mistake.message == "must be 20 to 1000 in steps of 20 with L16"


def test_what_is_not_asked_for_is_ignored() -> None:
    wrong = MediaParams(audio=AudioParams(codec=9), video=VideoParams(fps=0))
    assert not check(wrong, MediaType.TRANSCRIPT)
    assert [mistake.status for mistake in check(wrong, MediaType.ALL)] == [22, 30]


# Defaults, and what was agreed on


def test_all_means_every_section() -> None:
    assert with_defaults(MediaParams(), MediaType.ALL) == DEFAULTS
    assert only(DEFAULTS, MediaType.ALL) == DEFAULTS
    assert only(DEFAULTS, MediaType.CHAT) == MediaParams(chat=ChatParams(content_type=5))


def test_zero_is_a_sample_rate() -> None:
    complete = with_defaults(MediaParams(audio=AudioParams(sample_rate=0)), MediaType.AUDIO)
    assert complete.audio is not None
    assert complete.audio.sample_rate == 0


@pytest.mark.parametrize(
    ("params", "types", "expected"),
    [
        (MediaParams(audio=AudioParams(send_rate=2000)), MediaType.AUDIO, Difference("audio", "send_rate", 2000, 1000)),
        (MediaParams(video=VideoParams(fps=25)), MediaType.VIDEO, Difference("video", "fps", 25, 5)),
        (MediaParams(deskshare=DeskshareParams(fps=4)), MediaType.DESKSHARE, Difference("deskshare", "fps", 4, 1)),
    ],
)
def test_silent_changes_of_a_server_are_listed(params: MediaParams, types: MediaType, expected: Difference) -> None:
    assert differences(params, with_defaults(params, types)) == [expected]


small = st.none() | st.integers(0, 3)
any_params = st.builds(
    MediaParams,
    audio=st.none()
    | st.builds(AudioParams, sample_rate=small, channel=small, codec=small, data_opt=small, send_rate=small),
    video=st.none() | st.builds(VideoParams, codec=small, fps=small),
    transcript=st.none() | st.builds(TranscriptParams, src_language=small, enable_lid=st.none() | st.booleans()),
)
any_types = st.integers(1, 63).map(MediaType)


@given(any_params, any_types)
def test_completed_parameters_are_complete_and_stay_as_they_are(params: MediaParams, types: MediaType) -> None:
    complete = with_defaults(params, types)
    assert with_defaults(complete, types) == complete
    for section, bit in SECTIONS.items():
        value = getattr(complete, section)
        assert (value is not None) == bool(types & (bit | MediaType.ALL))
        assert value is None or None not in attrs.astuple(value)


@given(any_params, st.none() | any_params, any_types)
def test_negotiated_is_the_echo_else_the_request(
    params: MediaParams, echoed: MediaParams | None, types: MediaType
) -> None:
    requested = with_defaults(params, types)
    agreed = negotiated(requested, echoed)
    for section in SECTIONS:
        asked, got = getattr(requested, section), getattr(agreed, section)
        answer = getattr(echoed, section, None)
        assert (asked is None) == (got is None)
        for field in attrs.fields_dict(type(asked)) if asked else ():
            echo = getattr(answer, field, None)
            assert getattr(got, field) == (getattr(asked, field) if echo is None else echo)


def test_a_downgrade_shows() -> None:
    asked = MediaParams(audio=AudioParams(data_opt=2, send_rate=100), video=VideoParams(fps=5))
    agreed = negotiated(asked, MediaParams(audio=AudioParams(data_opt=1)))
    assert differences(asked, agreed) == [Difference("audio", "data_opt", 2, 1)]


def test_audio_format() -> None:
    default = AudioFormat(codec=PayloadType.L16, rate_hz=16000, channels=1, mixed=True, send_rate_ms=20)
    assert audio_format(AudioParams()) == default
    g722 = AudioParams(codec=3, data_opt=2, sample_rate=1, send_rate=20)
    assert audio_format(g722) == attrs.evolve(default, codec=PayloadType.G722, mixed=False)
    stereo = AudioParams(sample_rate=3, channel=2, send_rate=1000)
    assert audio_format(AudioParams(content_type=1)) == attrs.evolve(default, is_rtp=True)
    assert audio_format(stereo) == attrs.evolve(default, rate_hz=48000, channels=2, send_rate_ms=1000)


@pytest.mark.parametrize("audio", [AudioParams(codec=8), AudioParams(sample_rate=4), AudioParams(channel=0)])
def test_audio_that_cannot_be_read_is_an_error(audio: AudioParams) -> None:
    with pytest.raises(RemoteProtocolError, match="negotiated audio"):
        audio_format(audio)


# URLs


@pytest.mark.parametrize(
    ("urls", "media", "product", "expected"),
    [
        ({"audio": "wss://a", "all": "wss://x"}, MediaType.AUDIO, "session", "wss://a"),
        ({"audio": "wss://a", "all": "wss://x"}, MediaType.TRANSCRIPT, "session", "wss://x"),
        ({"audio": "wss://a", "all": "wss://x"}, MediaType.ALL, "session", "wss://x"),
        ({"audio": "wss://a", "all": "wss://x"}, MediaType.AUDIO | MediaType.TRANSCRIPT, "meeting", "wss://x"),
        ({"audio": "wss://a", "all": "wss://x"}, MediaType.ALL, "contact_center", "wss://a"),
        ({"sharescreen": "wss://s", "all": "wss://x"}, MediaType.DESKSHARE, "session", "wss://s"),
        ({"audio": "srt://a", "video": "ws://v"}, MediaType.AUDIO, "session", "ws://v"),
        ({"audio": "srt://a"}, MediaType.AUDIO, "session", None),
        ({}, MediaType.AUDIO, "session", None),
    ],
)
def test_choose_url(urls: dict[str, str], media: MediaType, product: str, expected: str | None) -> None:
    assert choose_url(urls, media, product) == expected
