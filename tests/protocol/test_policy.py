"""Actions for status codes and stop reasons, number by number; and an explanation for each."""

import enum
import subprocess
import sys

import pytest

from rtmsd.protocol.enums import SessionState, StatusCode, StopReason, StreamState
from rtmsd.protocol.explanations import TABLES, Meaning, explain
from rtmsd.protocol.policy import StatusAction, StopAction, on_status, on_stop

STATUS_ACTIONS = {
    0: StatusAction.PROCEED,
    2: StatusAction.STREAM_GONE,
    3: StatusAction.BAD_CREDENTIALS,
    8: StatusAction.RETRY_DUPLICATE,
    **dict.fromkeys(range(9, 14), StatusAction.DROP_MEDIA),
    15: StatusAction.RETRY_STALE,
    16: StatusAction.RETRY_STALE,
    45: StatusAction.RETRY,
}


@pytest.mark.parametrize("code", range(48))
def test_on_status(code: int) -> None:
    assert on_status(code) is STATUS_ACTIONS.get(code, StatusAction.GIVE_UP)


@pytest.mark.parametrize("code", [-1, 48, 1000])
def test_an_unknown_status_is_retried(code: int) -> None:
    assert on_status(code) is StatusAction.RETRY


@pytest.mark.parametrize("reason", [*range(-1, 30), 1000])
def test_on_stop(reason: int) -> None:
    if reason == 8:
        expected = StopAction.DELETE
    elif reason == 18:
        expected = StopAction.RESTART_ONCE
    elif 10 <= reason <= 19 or reason == 24:
        expected = StopAction.RESTART
    else:
        expected = StopAction.END
    assert on_stop(reason) is expected


@pytest.mark.parametrize(
    ("kind", "numbers"),
    [
        ("status code", StatusCode),
        ("stop reason", StopReason),
        ("stream state", StreamState),
        ("session state", SessionState),
    ],
)
def test_every_number_has_an_explanation(kind: str, numbers: type[enum.IntEnum]) -> None:
    assert list(TABLES[kind]) == list(numbers)
    for number in numbers:
        meaning = TABLES[kind][number]
        assert meaning.name == number.name
        assert all(text.endswith((".", "`.")) for text in meaning[1:]), meaning


def names(what: str) -> list[tuple[str, str]]:
    return [(found.kind, found.meaning.name) for found in explain(what)]


def test_a_number_is_explained_in_all_its_meanings_the_stop_reason_first() -> None:
    assert names("18") == [("stop reason", "AUTHENTICATION_FAILURE"), ("status code", "INVALID_MEDIA_AUDIO_PARAMS")]
    assert names(" 4 ")[2:] == [("stream state", "TERMINATED"), ("session state", "RESUMED")]


def test_codes_of_the_rest_api_are_explained() -> None:
    assert names("2308") == [("API error", "NOT_ALLOWED_TO_START")]
    assert all(text.endswith(".") for meaning in TABLES["API error"].values() for text in meaning[1:])


def test_a_name_is_explained_with_or_without_prefix_in_any_case() -> None:
    expected = [("status code", "INVALID_SIGNATURE")]
    assert names("STATUS_INVALID_SIGNATURE") == names("invalid-signature") == expected
    assert names("STOP_BC_STREAM_REVOKED") == [("stop reason", "STREAM_REVOKED")]
    assert isinstance(explain("8")[0].meaning, Meaning)


@pytest.mark.parametrize("what", ["", "999", "-1", "nonsense", "1.0"])
def test_an_unknown_number_has_no_explanation(what: str) -> None:
    assert explain(what) == []


def test_explaining_needs_no_heavy_import() -> None:
    """`rtmsctl` starts within 150 ms."""
    code = (
        "import sys, rtmsd.protocol.explanations; print(sorted({'attrs', 'attr', 'cattrs', 'trio'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
