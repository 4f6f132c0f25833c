"""The verbs that control, check and explain."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from rtmsd.admin.messages import Code
from rtmsd.cluster.records import MemberState
from rtmsd.ctl import cluster_glossary, glossary
from rtmsd.ctl.earlier_streams import PART
from rtmsd.ctl.errors import Exit
from rtmsd.ctl.findings import Finding
from rtmsd.ctl.numbers import EXIT_STATUSES
from rtmsd.ctl.verbs.doctor import in_order
from rtmsd.daemon import health
from rtmsd.node.questions import Flag
from rtmsd.node.view import GONE, SILENT
from rtmsd.protocol.causes import GapCause, RecordingState
from rtmsd.protocol.reading import CorruptKind
from rtmsd.streams.core.connections import LinkState
from rtmsd.streams.core.video.requests import Result as VideoResult
from rtmsd.webhook.stats import Result
from tests.ctl.nobody import unprivileged

Ctl = Any
FakeDaemon = Any
Capture = pytest.CaptureFixture[str]


class Write(NamedTuple):
    args: tuple[str, ...]
    request: str
    said: str
    body: object = None


WRITES = (
    Write(("stop", "ab"), "POST /v1/streams/ab/stop", "abc1 is asked to end"),
    Write(("reconnect", "ab"), "POST /v1/streams/ab/reconnect", "abc1 reconnects"),
    Write(
        ("video", "ab", "--user", "7"),
        "POST /v1/streams/ab/video",
        "Zoom sends the video of 7 as soon as the camera is on",
        {"user_id": 7},
    ),
    Write(("video", "ab", "--off"), "POST /v1/streams/ab/video", "no video is asked for", {"off": True}),
    Write(("video", "ab", "--auto"), "POST /v1/streams/ab/video", "follow = None: nobody is seen", {"auto": True}),
    Write(("drain",), "POST /v1/drain", "draining: new streams are refused, running ones go on"),
    Write(("undrain",), "POST /v1/undrain", "new streams are accepted"),
    Write(("shutdown",), "POST /v1/shutdown?end_streams=0", "the daemon is stopping"),
    Write(
        ("shutdown", "--end-streams"), "POST /v1/shutdown?end_streams=1", "the daemon is stopping and ends its streams"
    ),
    Write(
        ("session", "start", "Kz9+aB/c=="),
        "POST /v1/session/start",
        "Zoom has accepted: start the stream of session Kz9+aB/c==",
        {"product": "session", "id": "Kz9+aB/c=="},
    ),
    Write(
        ("session", "pause", "123", "--product", "meeting", "--app", "main", "--participant", "16778240"),
        "POST /v1/session/pause",
        "Zoom has accepted: pause the stream of meeting 123",
        {"product": "meeting", "id": "123", "app": "main", "participant_user_id": "16778240"},
    ),
)


@pytest.mark.parametrize("write", WRITES, ids=lambda write: " ".join(write.args))
def test_writes(ctl: Ctl, daemon: FakeDaemon, capsys: Capture, write: Write) -> None:
    answer = {"rtms_stream_id": "abc1"}
    daemon.answers[write.request] = answer
    assert ctl(*write.args) == Exit.OK
    assert capsys.readouterr().out == f"{write.said}\n"
    assert ctl(*write.args, "--json") == Exit.OK
    assert json.loads(capsys.readouterr().out) == answer
    (request, body), _ = daemon.requests
    assert request == write.request
    assert (json.loads(body) if body else None) == write.body


def test_reload_says_what_changed_and_what_needs_a_restart(ctl: Ctl, daemon: FakeDaemon, capsys: Capture) -> None:
    changes = [
        {"path": "streams.drain_s", "old": 8, "new": 9, "needs_restart": False},
        {"path": "app[main].client_id", "old": None, "new": "x", "needs_restart": True},
    ]
    daemon.answers["POST /v1/reload"] = {"changed": changes}
    assert ctl("reload") == Exit.OK
    assert capsys.readouterr().out == 'streams.drain_s\t8\t9\treload\napp[main].client_id\tunset\t"x"\trestart\n'
    assert ctl("reload", "--json") == Exit.OK
    assert json.loads(capsys.readouterr().out) == {"changed": changes}


def explained(ctl: Ctl, capsys: Capture, *words: str) -> list[tuple[str, int | None, str]]:
    assert ctl("explain", "--json", *words) == Exit.OK
    return [(item["kind"], item["number"], item["name"]) for item in json.loads(capsys.readouterr().out)]


def test_explain_a_number_that_can_be_several_things(ctl: Ctl, daemon: FakeDaemon, capsys: Capture) -> None:
    assert explained(ctl, capsys, "18") == [
        ("stop reason", 18, "AUTHENTICATION_FAILURE"),
        ("status code", 18, "INVALID_MEDIA_AUDIO_PARAMS"),
    ]
    assert daemon.requests == []


@pytest.mark.parametrize(
    ("words", "kinds"),
    [
        (("stop", "8"), ["stop reason"]),
        (("status", "8"), ["status code"]),
        (("status 8",), ["status code"]),
        (("status_code", "8"), ["status code"]),
        (("stream", "state", "4"), ["stream state"]),
        (("STOP_BC_STREAM_REVOKED",), ["stop reason"]),
        (("paused",), ["stream state", "session state", "rtmsd state"]),
        (("media-reconnect",), ["gap cause"]),
        (("media", "reconnect"), ["gap cause"]),
        (("invalid signature",), ["status code"]),
        (("1006",), ["close code"]),
        (("http", "401"), ["HTTP answer"]),
        (("exit", "3"), ["exit status"]),
        (("degraded",), ["daemon state"]),
        (("buffer_full",), ["trouble"]),
        (("stale",), ["webhook result"]),
        (("stop", "18", "status", "8"), ["stop reason", "status code"]),
        (("stop 18, 1006",), ["stop reason", "close code"]),
        (("status", "3:", "invalid", "signature"), ["status code"]),
        (("protocol", "version"), ["failure"]),
        (("no_websocket_address",), ["failure"]),
        (("6", "MEETING_ENDED"), ["stop reason", "status code", "stream state", "exit status"]),
    ],
)
def test_explain_by_kind_and_name(ctl: Ctl, capsys: Capture, words: tuple[str, ...], kinds: list[str]) -> None:
    assert [kind for kind, _, _ in explained(ctl, capsys, *words)] == kinds


@pytest.mark.parametrize("words", [("999",), ("rain",), ("weather", "8"), ("",)])
def test_explain_unknown_words(ctl: Ctl, capsys: Capture, words: tuple[str, ...]) -> None:
    assert ctl("explain", *words) == Exit.FAILED
    assert "explain stop 18" in capsys.readouterr().err


def test_explain_for_programs(ctl: Ctl, capsys: Capture) -> None:
    assert ctl("explain", "dropped") == Exit.OK
    assert capsys.readouterr().out == "\t".join(("gap cause", "-", *glossary.WORDS["gap cause"]["dropped"])) + "\n"


def test_every_word_that_rtmsctl_prints_is_explained() -> None:
    """A new word of any of these lists needs an explanation in the glossary."""
    assert set(glossary.STREAM_STATES) == {*RecordingState, PART, "refused"}
    assert set(glossary.GAP_CAUSES) == set(GapCause)
    assert set(glossary.TROUBLES) >= {code.value for code in health.TroubleCode}
    assert set(cluster_glossary.MEMBER_STATES) == {*MemberState, GONE, SILENT}
    assert {*cluster_glossary.STREAM_FLAGS, *glossary.TROUBLES} >= {flag.value for flag in Flag}
    assert set(glossary.WEBHOOK_RESULTS) >= {result.value for result in Result}
    assert set(glossary.PROBLEMS) >= {code.value for code in Code}
    assert {*glossary.LINK_STATES, *glossary.STREAM_STATES} >= {state.value for state in LinkState}
    assert set(glossary.CORRUPT_KINDS) >= {kind.value for kind in CorruptKind}
    assert set(glossary.VIDEO_RESULTS) == {result.value.replace(" ", "_") for result in VideoResult}
    assert set(glossary.DAEMON_STATES) >= {phase.value for phase in health.Phase} | {"ok", "degraded", "draining"}
    assert set(EXIT_STATUSES) == set(Exit)


def test_what_is_known_is_explained_beside_what_is_not(ctl: Ctl, capsys: Capture) -> None:
    assert ctl("explain", "stop", "18", "droped") == Exit.FAILED
    printed = capsys.readouterr()
    assert printed.out.startswith("stop reason\t18\t")
    assert printed.err.startswith("rtmsctl: unknown: 'droped': did you mean dropped?\n")


FINDING = {"check": "signatures", "ok": False, "detail": "12 in a row", "hint": "compare the secrets"}


def test_doctor(ctl: Ctl, daemon: FakeDaemon, capsys: Capture) -> None:
    disk = {"check": "disk", "ok": True, "detail": "1 TiB free", "hint": ""}
    daemon.answers["GET /v1/doctor"] = [FINDING, disk]
    assert ctl("doctor", "--offline") == Exit.FAILED
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [line[:2] for line in lines] == [
        ["ok", "daemon"],
        ["ok", "disk"],
        ["skipped", "public url"],
        ["FAILED", "signatures"],
    ]
    assert lines[-1][2:] == ["12 in a row", "compare the secrets"]


def test_a_hint_keeps_its_former_name_and_an_older_daemon_is_understood(
    ctl: Ctl, daemon: FakeDaemon, capsys: Capture
) -> None:
    older = {"check": "scopes", "ok": False, "detail": "none", "mend": "add scopes"}
    daemon.answers["GET /v1/doctor"] = [FINDING, older]
    assert ctl("doctor", "--offline", "--json") == Exit.FAILED
    found = {item["check"]: (item["hint"], item["mend"]) for item in json.loads(capsys.readouterr().out)}
    assert found["signatures"] == ("compare the secrets",) * 2
    assert found["scopes"] == ("add scopes",) * 2


def test_a_healthy_daemon(ctl: Ctl, daemon: FakeDaemon, capsys: Capture) -> None:
    daemon.answers["GET /v1/doctor"] = [{**FINDING, "ok": True}]
    assert ctl("doctor", "--offline", "--json") == Exit.OK
    assert all(item["ok"] is not False for item in json.loads(capsys.readouterr().out))


def test_one_finding_for_each_check_and_trouble_first() -> None:
    def found(check: str, *oks: bool | None) -> list[Finding]:
        return [Finding(check, ok, f"{number}") for number, ok in enumerate(oks)]

    findings = [
        *found("own", True),
        *found("dns", True, False, None),
        *found("clock", None, True),
        *found("disk", None),
    ]
    assert [(finding.check, finding.ok) for finding in in_order(findings)] == [
        ("clock", True),
        ("dns", False),
        ("disk", None),
        ("own", True),
    ]


def test_doctor_without_a_daemon_says_so_and_what_to_do(ctl: Ctl, daemon: FakeDaemon, capsys: Capture) -> None:
    daemon.path.unlink()
    assert ctl("doctor", "--offline", "--json") == Exit.UNREACHABLE
    (finding,) = json.loads(capsys.readouterr().out)
    assert finding["check"] == "daemon"
    assert finding["ok"] is False
    assert "systemctl status rtmsd" in finding["hint"]


def test_doctor_checks_the_path_to_zoom(ctl: Ctl, daemon: FakeDaemon, capsys: Capture) -> None:
    daemon.answers["GET /v1/doctor"] = []
    assert ctl("doctor", "--json", "--zoom", "https://nowhere.invalid/") == Exit.FAILED
    found = {item["check"]: item["ok"] for item in json.loads(capsys.readouterr().out)}
    assert found == {"daemon": True, "clock": None, "dns": False, "tls": None, "public url": None}


@pytest.fixture
def recordings(daemon: FakeDaemon, tmp_path: Path) -> Path:
    """Two recordings, the second of them live; both without any files."""
    items = []
    for name, state, ended_ms in (("abc1", "ended", 5000), ("abd2", "active", None)):
        directory = tmp_path / "rec" / "2026-09-21" / name
        directory.mkdir(parents=True)
        (directory / "stream.json").write_text("{}")
        items.append(
            {
                "rtms_stream_id": name,
                "app": "main",
                "state": state,
                "started_ms": 1000,
                "ended_ms": ended_ms,
                "bytes": 2048,
                "gaps": 0,
                "directory": str(directory),
            }
        )
    daemon.answers["GET /v1/recordings"] = items
    daemon.answers["GET /v1/status"] = {}
    return tmp_path / "rec" / "2026-09-21"


def test_recordings_ls(ctl: Ctl, recordings: Path, capsys: Capture) -> None:
    assert ctl("recordings", "ls") == Exit.OK
    assert capsys.readouterr().out.splitlines() == [
        "STREAM\tAPP\tSTATE\tSTARTED\tLASTED\tSIZE\tGAPS\tDIRECTORY\tSESSION KEY",
        f"abc1\tmain\tended\t1000\t4000\t2048\t0\t{recordings}/abc1\t-",
        f"abd2\tmain\tactive\t1000\t-\t2048\t0\t{recordings}/abd2\t-",
    ]


@pytest.mark.parametrize("verb", ["ls", "verify"])
def test_a_directory_that_cannot_be_listed_is_named(
    ctl: Ctl, daemon: FakeDaemon, recordings: Path, capsys: Capture, verb: str
) -> None:
    directories = [{"directory": "/a", "unread": None}, {"directory": "/b", "unread": "/b: Input/output error"}]
    daemon.answers["GET /v1/status"] = {"disk": {"directories": directories}}
    assert ctl("recordings", verb) == Exit.FAILED
    captured = capsys.readouterr()
    assert f"{recordings}/abc1" in captured.out
    assert captured.err == "rtmsctl: recordings are left out: /b: Input/output error\n"


def test_verify_finds_problems_and_fails(ctl: Ctl, recordings: Path, capsys: Capture) -> None:
    assert ctl("recordings", "verify", "abc", "--json") == Exit.FAILED
    (result,) = json.loads(capsys.readouterr().out)
    assert result["directory"] == str(recordings / "abc1")
    assert result["problems"][0]["path"] == "stream.json"


def test_verify_without_a_daemon_by_directory(
    ctl: Ctl, daemon: FakeDaemon, recordings: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon.path.unlink()
    monkeypatch.setattr("rtmsd.ctl.verbs.integrity.problems_of", lambda directory: [])
    assert ctl("recordings", "verify", str(recordings.parent)) == Exit.OK
    verdict = "2 recordings, no problems, no gaps"
    assert capsys.readouterr().out == f"{recordings}/abc1\tok\n{recordings}/abd2\tok\n{verdict}\n"
    assert ctl("recordings", "verify") == Exit.UNREACHABLE


T = 1_790_000_000_000


def test_verify_says_what_another_node_has(ctl: Ctl, tmp_path: Path, capsys: Capture) -> None:
    empty: dict[str, list[Any]] = {"participants": [], "files": [], "connections": [], "gaps": []}
    manifest = {
        **empty,
        "version": 1,
        "rtms_stream_id": "one",
        "state": "ended",
        "started_ms": T,
        "ended_ms": T + 60_000,
        "counters": {"messages": {}},
        "part": {"node": "a", "tenures": [], "elsewhere": [{"node": "b", "from_ms": T, "to_ms": T + 60_000}]},
    }
    (tmp_path / "stream.json").write_text(json.dumps(manifest))
    assert ctl("recordings", "verify", str(tmp_path)) == Exit.OK
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path}\tok, 1m00s elsewhere, on node b",
        "1 recording, no problems, no gaps, 1m00s elsewhere",
    ]


def test_verify_shows_what_is_missing_and_why(ctl: Ctl, tmp_path: Path, capsys: Capture) -> None:
    """A gap is no problem, but it is shown beside "ok"."""
    media = {"transcript": {"asked": {}, "granted": None, "refused": {"status": 12, "why": "no", "at_ms": T}}}
    gap = {"media": "transcript", "user_id": None, "from_ms": T, "to_ms": T + 60_000, "cause": "refused"}
    dropped = {"media": "audio", "user_id": 5, "from_ms": T, "to_ms": T + 2500, "cause": "dropped"}
    for name, gaps in (("one", [gap, dropped]), ("two", [])):
        (tmp_path / name).mkdir()
        manifest = {
            "version": 1,
            "rtms_stream_id": name,
            "state": "ended",
            "started_ms": T,
            "ended_ms": T + 60_000,
            "participants": [],
            "files": [],
            "connections": [],
            "counters": {"messages": {}},
            "gaps": gaps,
            "media": media if gaps else {},
        }
        (tmp_path / name / "stream.json").write_text(json.dumps(manifest))
    assert ctl("recordings", "verify", str(tmp_path)) == Exit.OK
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path}/one\tok, 2 gaps: audio 2.5s (dropped), transcript 1m00s (refused)",
        f"{tmp_path}/two\tok",
        "2 recordings, no problems, 2 gaps, missing: audio 2.5s (dropped), transcript 1m00s (refused)",
    ]
    assert ctl("recordings", "verify", str(tmp_path), "--json") == Exit.OK
    one, two = json.loads(capsys.readouterr().out)
    assert (one["gaps"], one["missing_ms"]) == (2, {"refused": 60_000, "dropped": 2500})
    assert one["media_ms"] == {"transcript": {"refused": 60_000}, "audio": {"dropped": 2500}}
    assert (two["gaps"], two["missing_ms"]) == (0, {})


def test_a_directory_without_recordings(ctl: Ctl, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "empty").mkdir()
    assert ctl("recordings", "verify", str(tmp_path / "empty")) == Exit.FAILED
    assert "no recording is in" in capsys.readouterr().err


@pytest.mark.parametrize("hidden", ["", "abc1"])
def test_a_directory_that_may_not_be_looked_into(
    ctl: Ctl, recordings: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, hidden: str
) -> None:
    """A directory that cannot be read is a failure, whatever else is good."""
    monkeypatch.setattr("rtmsd.ctl.verbs.integrity.problems_of", lambda directory: [])
    monkeypatch.chdir(recordings.parent)  # nobody may come here by the whole path
    (recordings / hidden).chmod(0)
    with unprivileged():
        code = ctl("recordings", "verify", recordings.name)
    (recordings / hidden).chmod(0o755)
    assert code == Exit.NOT_PERMITTED
    assert "Permission denied" in capsys.readouterr().err


@pytest.mark.usefixtures("recordings")
@pytest.mark.parametrize(("name", "code"), [("zzz", Exit.NO_SUCH_STREAM), ("ab", Exit.USAGE)])
def test_recordings_that_are_not_one(ctl: Ctl, name: str, code: Exit) -> None:
    assert ctl("recordings", "verify", name) == code
    assert ctl("recordings", "rm", name, "--yes") == code


def test_repair_says_what_it_did(ctl: Ctl, recordings: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "rtmsd.ctl.verbs.integrity.repair_recording", lambda directory, dry_run: [f"{directory.name} {dry_run}"]
    )
    assert ctl("recordings", "repair", "abc1") == Exit.OK
    assert ctl("recordings", "repair", "--dry-run", "abc1") == Exit.OK
    assert capsys.readouterr().out == f"{recordings}/abc1\tabc1 False\n{recordings}/abc1\tabc1 True\n"


def test_a_live_recording_is_not_repaired(
    ctl: Ctl, daemon: FakeDaemon, recordings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repaired: list[Path] = []

    def repair(directory: Path, *, dry_run: bool) -> list[str]:
        repaired.append(directory)
        return []

    monkeypatch.setattr("rtmsd.ctl.verbs.integrity.repair_recording", repair)
    assert ctl("recordings", "repair", str(recordings)) == Exit.REFUSED
    assert repaired == []
    daemon.path.unlink()  # nobody is there to write
    assert ctl("recordings", "repair", str(recordings)) == Exit.OK
    assert repaired == [recordings / "abc1", recordings / "abd2"]


@pytest.mark.usefixtures("recordings")
def test_rm_asks_first(ctl: Ctl, daemon: FakeDaemon, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon.answers["DELETE /v1/recordings/abc1"] = {"rtms_stream_id": "abc1"}
    assert ctl("recordings", "rm", "abc") == Exit.FAILED
    assert "--yes" in capsys.readouterr().err
    for answer, code in (("n\n", Exit.FAILED), ("", Exit.FAILED), ("y\n", Exit.OK)):
        monkeypatch.setattr("sys.stdin", Keyboard(answer))
        assert ctl("recordings", "rm", "abc") == code
    assert [request for request, _ in daemon.requests if request.startswith("DELETE")] == ["DELETE /v1/recordings/abc1"]


class Keyboard:
    def __init__(self, text: str) -> None:
        self._text = text

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        return self._text


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_verbs_and_streams(ctl: Ctl, capsys: Capture, shell: str) -> None:
    assert ctl("completion", shell) == Exit.OK
    script = capsys.readouterr().out
    for part in ("inspect", "recordings", "--user-id" if shell != "fish" else "user-id", "rtmsctl ps -a"):
        assert part in script
    if (program := shutil.which(shell)) is not None:
        subprocess.run([program, "-n"], input=script, text=True, check=True, capture_output=True)


def test_bash_completes_the_id_of_a_stream(ctl: Ctl, capsys: Capture) -> None:
    assert ctl("completion", "bash") == Exit.OK
    script = capsys.readouterr().out + (
        "\nrtmsctl() { printf 'abc1\\tmain\\nxyz\\tmain\\n'; }\n"
        'COMP_WORDS=(rtmsctl stop a) COMP_CWORD=2; _shtab_rtmsctl rtmsctl a stop; echo "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(["bash"], input=script, text=True, check=True, capture_output=True)
    assert done.stdout.split() == ["abc1"]
