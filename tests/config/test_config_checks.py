"""Mistakes between keys: media that do not go together, apps that cannot be distinguished, unusable files."""

from pathlib import Path

import pytest
import trustme

from rtmsd.config import AudioConfig, MediaConfig, ShareConfig, TranscriptConfig, VideoConfig
from rtmsd.config.checks import MEDIA_KEYS
from rtmsd.config.model import Config
from rtmsd.config.reading import Reader
from rtmsd.errors import ConfigError
from rtmsd.protocol.enums import MediaType
from rtmsd.protocol.languages import TranscriptLanguage
from rtmsd.protocol.media_params import DEFAULTS, ChatParams, MediaParams
from tests.config.files import APP, load_text

MAIN = APP.format(name="main")


def mistakes_in(directory: Path, text: str) -> list[str]:
    try:
        load_text(directory, text)
    except ConfigError as error:
        return error.mistakes
    return []


# Media


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ('[media.audio]\ncodec = "G711"', ["sample_rate_hz", "send_rate_ms"]),
        ('[media.audio]\ncodec = "G711"\nsample_rate_hz = 8000\nsend_rate_ms = 20\nchannels = 2', ["channels"]),
        ('[media.audio]\ncodec = "G711"\nsample_rate_hz = 8000\nsend_rate_ms = 20', []),
        ('[media.audio]\ncodec = "G722"\nsend_rate_ms = 20', []),
        ('[media.audio]\ncodec = "G722"\nsample_rate_hz = 8000\nsend_rate_ms = 20', ["sample_rate_hz"]),
        ('[media.audio]\ncodec = "OPUS"', ["sample_rate_hz", "send_rate_ms"]),
        ('[media.audio]\ncodec = "OPUS"\nsample_rate_hz = 48000\nsend_rate_ms = 20\nchannels = 2', []),
        ('[media.audio]\ncodec = "L16"\nsample_rate_hz = 48000\nchannels = 2\nsend_rate_ms = 1000', []),
        ("[media.audio]\nsend_rate_ms = 30", ["send_rate_ms"]),
        ("[media.audio]\nsend_rate_ms = 1020", ["send_rate_ms"]),
        ("[media.audio]\nsend_rate_ms = 0", ["send_rate_ms"]),
        ("[media.audio]\nsample_rate_hz = 44100", ["sample_rate_hz"]),
        ("[media.audio]\nchannels = 3", ["channels"]),
        ('[media.audio]\ncontent = "rtp"', ["content"]),
        ('[media.audio]\ncontent = "rtp"\ncodec = "G711"', ["sample_rate_hz", "send_rate_ms"]),
        ('[media.audio]\ncontent = "rtp"\ncodec = "G722"\nsend_rate_ms = 20', []),
        ('[media.audio]\ncontent = "srt"', ["content"]),
    ],
)
def test_audio(tmp_path: Path, text: str, keys: list[str]) -> None:
    assert [mistake.split(":")[0] for mistake in mistakes_in(tmp_path, MAIN + text)] == [
        f"media.audio.{key}" for key in keys
    ]


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ('streams = "individual"', ""),
        ('streams = "individual"\nfollow = "first-camera"\nswitch_after_s = 0.5', ""),
        ('streams = "individual"\nfollow = "manual"', ""),
        ('streams = "individual"\nfollow = "manual"\nswitch_after_s = 3', "switch_after_s"),
        ('streams = "individual"\nswitch_after_s = -1', "switch_after_s"),
        ('streams = "individual"\nfollow = "loudest"', "follow"),
        ('streams = "gallery"', "streams"),
        ('follow = "first-camera"', "follow"),
        ("switch_after_s = 3", "switch_after_s"),
        ('follow = "active-speaker"\nswitch_after_s = 2', ""),
    ],
)
def test_whose_video(tmp_path: Path, values: str, wrong: str) -> None:
    found = mistakes_in(tmp_path, f'{MAIN}[media]\ntypes = ["video"]\n[media.video]\n{values}')
    assert [mistake.split(":")[0] for mistake in found] == ([f"media.video.{wrong}"] if wrong else [])


def test_individual_video_without_video_is_a_warning(tmp_path: Path) -> None:
    config = load_text(tmp_path, f'{MAIN}[media.video]\nstreams = "individual"')
    assert any('without "video" in media.types' in warning for warning in config.warnings)
    assert config.media.params().video is None


def test_what_rtp_goes_with_is_said(tmp_path: Path) -> None:
    (mistake,) = mistakes_in(tmp_path, MAIN + '[media.audio]\ncontent = "rtp"')
    assert mistake == 'media.audio.content: must be "raw" with codec = "L16": "rtp" goes with OPUS, G711 and G722'


@pytest.mark.parametrize("section", ["video", "share"])
@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ('codec = "H264"\nfps = 30', ""),
        ('codec = "PNG"\nfps = 5', ""),
        ('codec = "JPG"\nfps = 6', "codec"),
        ("fps = 0", "fps"),
        ("fps = 31", "fps"),
        ('resolution = "4K"', "resolution"),
        ('codec = "L16"', "codec"),
    ],
)
def test_video_and_share(tmp_path: Path, section: str, values: str, wrong: str) -> None:
    text = f'{MAIN}[media]\ntypes = ["{section}"]\n[media.{section}]\n{values}'
    expected = [f"media.{section}.{wrong}"] if wrong else []
    assert [mistake.split(":")[0] for mistake in mistakes_in(tmp_path, text)] == expected


def test_media_that_are_not_requested_are_not_checked(tmp_path: Path) -> None:
    assert mistakes_in(tmp_path, MAIN + '[media.video]\ncodec = "JPG"\nfps = 25') == []


def test_a_language_that_is_neither_given_nor_found(tmp_path: Path) -> None:
    (mistake,) = mistakes_in(tmp_path, MAIN + '[media.transcript]\nlanguage = "auto"\ndetect_language = false')
    assert mistake.startswith("media.transcript.detect_language: ")


def test_media_in_the_words_of_the_wire() -> None:
    media = MediaConfig(types=("audio", "chat"), audio=AudioConfig(sample_rate_hz=8000, send_rate_ms=20))
    assert media.requested == MediaType.AUDIO | MediaType.CHAT
    params = media.params()
    assert params.audio is not None
    assert (params.audio.sample_rate, params.audio.send_rate, params.audio.data_opt) == (0, 20, 2)
    assert params == MediaParams(audio=params.audio, chat=ChatParams(content_type=5))


def test_defaults_said_to_be_the_wires_are() -> None:
    assert VideoConfig().params() == DEFAULTS.video
    assert ShareConfig().params() == DEFAULTS.deskshare
    assert TranscriptConfig().params() == DEFAULTS.transcript


@pytest.mark.parametrize("language", TranscriptLanguage)
def test_each_language_has_a_name(tmp_path: Path, language: TranscriptLanguage) -> None:
    name = "auto" if language == -1 else language.name.lower().replace("_", "-")
    config = load_text(tmp_path, f'{MAIN}[media.transcript]\nlanguage = "{name}"')
    params = config.media.params().transcript
    assert params is not None
    assert params.src_language == language


def test_the_keys_in_mistakes_exist(tmp_path: Path) -> None:
    reader = Reader(Config, tmp_path / "config.toml")
    for path in MEDIA_KEYS.values():
        _, section, key = path.split(".")
        reader.table(Config, {"media": {section: {key: object()}}})
        assert "unknown key" not in reader.mistakes[path]


# Apps


def test_two_apps(tmp_path: Path) -> None:
    config = load_text(tmp_path, MAIN + APP.format(name="other"))
    assert [app.name for app in config.apps] == ["main", "other"]


def test_a_list_of_secrets_while_one_is_changed(tmp_path: Path) -> None:
    text = MAIN.replace('{ value = "webhook-main" }', '[{ value = "new-one" }, { value = "old-one" }]')
    assert load_text(tmp_path, text).apps[0].webhook_secrets == ("new-one", "old-one")
    (mistake,) = mistakes_in(tmp_path, MAIN.replace('{ value = "webhook-main" }', "[]"))
    assert mistake == "app[0].webhook_secret: must name at least one"
    (mistake,) = mistakes_in(tmp_path, text.replace("old-one", ""))
    assert mistake == "app[0].webhook_secret[1]: the value is empty"


@pytest.mark.parametrize(
    ("change", "key", "words"),
    [
        (("webhook-other", "webhook-main"), "app.webhook_secret", "'main' and 'other' have the same one"),
        (('"other"', '"main"'), "app.name", "two apps are named 'main'"),
        (("webhook-other", "client-other"), "app.webhook_secret", "'other' is the same as client_secret"),
    ],
)
def test_apps_that_cannot_be_distinguished(tmp_path: Path, change: tuple[str, str], key: str, words: str) -> None:
    (mistake,) = mistakes_in(tmp_path, MAIN + APP.format(name="other").replace(*change))
    assert mistake.startswith(f"{key}: ")
    assert words in mistake
    assert "webhook-main" not in mistake
    assert "client-other" not in mistake


def test_one_of_several_secrets_is_shared(tmp_path: Path) -> None:
    both = '[{ value = "webhook-new" }, { value = "webhook-main" }]'
    (mistake,) = mistakes_in(tmp_path, MAIN + APP.format(name="other").replace('{ value = "webhook-other" }', both))
    assert mistake.startswith("app.webhook_secret: ")


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("abc", "client_id"),
        ("client-main", "client_secret"),
        ("webhook-main", "webhook_secret"),
        ("api-key", "api.key"),
        ("api-secret", "api.secret"),
        ("api-account", "api.account_id"),
    ],
)
@pytest.mark.parametrize("dots", ["...", "…"])
def test_a_placeholder_of_the_example_is_a_mistake(tmp_path: Path, value: str, key: str, dots: str) -> None:
    api = '[app.api]\nkey = "api-key"\nsecret = { value = "api-secret" }\naccount_id = "api-account"\n'
    assert mistakes_in(tmp_path, MAIN + api) == []
    [mistake] = mistakes_in(tmp_path, (MAIN + api).replace(value, dots))
    assert mistake.startswith(f"app[0].{key}: ")
    assert "example" in mistake


API = '[app.api]\nkey = "k"\nsecret = { value = "api-secret" }\n'


@pytest.mark.parametrize(
    ("api", "mistakes"),
    [
        ("", ["app.api: of 'main' is missing, and streams.restart_policy = \"api\" needs it"]),
        (API, []),
        (API + 'auth = "oauth"', ["app.api.account_id: of 'main' is missing, and auth = \"oauth\" needs it"]),
        (API + 'auth = "oauth"\naccount_id = "a"', []),
        (API + 'base_url = "HTTPS://api.zoom.us/v2"', []),
        (API + 'base_url = "zoom.us"', ["app[0].api.base_url: must be an http:// or https:// address, not 'zoom.us'"]),
        ("[app.api]\nkey = 'k'", ["app[0].api.secret: is missing, and has no default"]),
    ],
)
def test_restarting_streams_takes_the_api(tmp_path: Path, api: str, mistakes: list[str]) -> None:
    assert mistakes_in(tmp_path, f'[streams]\nrestart_policy = "api"\n{MAIN}{api}') == mistakes


# Files and listeners


def test_a_path_missing_on_this_machine_is_no_mistake_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    text = MAIN + '[recording]\ndirectory = "file"\n[state]\nfile = "."\n[admin]\nsocket = "/"'
    assert load_text(tmp_path, text).warnings == ()


def test_ca_file(tmp_path: Path) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    (tmp_path / "nonsense.pem").write_text("nonsense")
    assert load_text(tmp_path, MAIN + '[zoom]\nca_file = "ca.pem"').zoom.ca_file == tmp_path / "ca.pem"
    for name, words in (("nonsense.pem", "holds no PEM certificate"), ("none.pem", "No such file")):
        (mistake,) = mistakes_in(tmp_path, f'{MAIN}[zoom]\nca_file = "{name}"')
        assert mistake.startswith("zoom.ca_file: ")
        assert words in mistake


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[webhook]\nlisten = "unix:/run/x.sock"\n[admin]\nsocket = "/run/x.sock"', "webhook.listen"),
        ('[webhook]\nlisten = "[::1]:80"\n[admin]\nmetrics_listen = "[::1]:80"', "admin.metrics_listen"),
        ('[webhook]\nlisten = "[::1]:0"\n[admin]\nmetrics_listen = "[::1]:0"', None),
    ],
)
def test_two_listeners_in_one_place(tmp_path: Path, text: str, key: str | None) -> None:
    assert [mistake.split(": ")[0] for mistake in mistakes_in(tmp_path, MAIN + text)] == ([key] if key else [])


@pytest.mark.parametrize(
    ("listen", "is_open"),
    [
        ("", False),
        ("127.0.0.1:9090", False),
        ("127.8.8.8:9090", False),
        ("[::1]:9090", False),
        ("localhost:9090", False),
        ("0.0.0.0:9090", True),
        ("[::]:9090", True),
        ("192.0.2.7:9090", True),
        ("metrics.example.com:9090", True),
    ],
)
def test_metrics_for_other_machines_are_unwise(tmp_path: Path, listen: str, is_open: bool) -> None:
    warnings = load_text(tmp_path, f'{MAIN}[admin]\nmetrics_listen = "{listen}"').warnings
    assert [warning.split(" is ")[0] for warning in warnings] == [f"admin.metrics_listen: {listen}"] * is_open


@pytest.mark.parametrize(("timeout_s", "is_hasty"), [(29, True), (30, False)])
def test_a_short_keep_alive_timeout_is_a_warning(tmp_path: Path, timeout_s: int, *, is_hasty: bool) -> None:
    warnings = load_text(tmp_path, f"{MAIN}[streams]\nkeep_alive_timeout_s = {timeout_s}").warnings
    assert [warning.split(":")[0] for warning in warnings] == ["streams.keep_alive_timeout_s"] * is_hasty


# Workers


@pytest.mark.parametrize(("workers", "processes"), [(1, 1), (3, 3), (256, 256)])
def test_workers_are_processes(tmp_path: Path, workers: int, processes: int) -> None:
    assert load_text(tmp_path, f"{MAIN}[daemon]\nworkers = {workers}").daemon.processes == processes


def test_without_a_number_there_is_a_worker_for_each_usable_core(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {pid, 5, 7})
    assert load_text(tmp_path, f"{MAIN}[daemon]\nworkers = 0").daemon.processes == 3


@pytest.mark.parametrize("workers", ["-1", "257", "1.5", "true", '"2"'])
def test_no_other_number_of_workers(tmp_path: Path, workers: str) -> None:
    [mistake] = mistakes_in(tmp_path, f"{MAIN}[daemon]\nworkers = {workers}")
    assert mistake.startswith("daemon.workers: ")


@pytest.mark.parametrize(("length", "workers", "is_refused"), [(98, 9, False), (99, 9, True), (107, 1, False)])
def test_each_worker_needs_a_socket_beside_that_of_admin(
    tmp_path: Path, length: int, workers: int, *, is_refused: bool
) -> None:
    socket = "/" + "s" * (length - 1)
    mistakes = mistakes_in(tmp_path, f'{MAIN}[admin]\nsocket = "{socket}"\n[daemon]\nworkers = {workers}')
    assert [mistake.split(":")[0] for mistake in mistakes] == ["admin.socket"] * is_refused
