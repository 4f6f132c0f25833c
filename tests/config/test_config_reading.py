"""One wrong value at a time: refused, with its path and a text."""

import re
from pathlib import Path

import pytest

from rtmsd.config import Config, load
from rtmsd.errors import ConfigError
from tests.config.files import load_text

APP = """
[[app]]
client_id = "abc"
client_secret = { value = "client-secret-of-main" }
webhook_secret = { value = "webhook-secret-of-main" }
"""


def mistakes_in(directory: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_text(directory, text)
    return caught.value.mistakes


def test_credentials_alone_are_enough(tmp_path: Path) -> None:
    config = load_text(tmp_path, APP)
    (app,) = config.apps
    assert (app.name, app.client_id, app.client_secret) == ("main", "abc", "client-secret-of-main")
    assert app.webhook_secrets == ("webhook-secret-of-main",)
    assert config.warnings == ()
    assert config == Config(apps=config.apps)


def test_what_the_file_says_is_what_the_classes_hold(tmp_path: Path) -> None:
    config = load_text(
        tmp_path,
        APP
        + """
        [webhook]
        listen = "[::1]:0"
        max_age_s = 1.5
        [zoom]
        allowed_hosts = ["127.0.0.1", "*.zoom.us", "localhost"]
        allow_plain_ws = true
        [streams]
        reconnect_delay_s = 0.05
        [recording]
        directory = "recordings"
        [state]
        file = "/tmp/state.sqlite"
        [media.audio]
        streams = "mixed"
        """,
    )
    assert config.webhook.listen == "[::1]:0"
    assert config.webhook.max_age_s == 1.5
    assert config.zoom.allowed_hosts == ("127.0.0.1", "*.zoom.us", "localhost")
    assert config.zoom.allow_plain_ws is True
    assert config.streams.reconnect_delay_s == 0.05
    assert config.recording.directory == tmp_path / "recordings"  # relative names start beside the file
    assert config.state.file == Path("/tmp/state.sqlite")
    assert config.media.audio.streams == "mixed"


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        # misspelt and misplaced keys
        ("[webhook]\nlistne = '127.0.0.1:1'", "webhook.listne", "did you mean listen?"),
        ("[webhook]\nListen = '127.0.0.1:1'", "webhook.Listen", "did you mean listen?"),
        ("[media.audio]\nsample_rate = 16000", "media.audio.sample_rate", "did you mean sample_rate_hz?"),
        ("[[apps]]\nname = 'x'", "apps", "did you mean app?"),
        ("[stream]\ndrain_s = 1", "stream", "did you mean streams?"),
        ("[media]\nsample_rate_hz = 16000", "media.sample_rate_hz", "belongs in section media.audio"),
        ("[streams]\nbuffer_bytes = 1", "streams.buffer_bytes", "belongs in section recording"),
        ("[media]\nfps = 1", "media.fps", "belongs in section media.video or media.share"),
        ("[log]\nxyzzy = 1", "log.xyzzy", "section log takes level, format"),
        ('[log]\n"a\\nb.c" = 1', "log.'a\\nb.c'", "unknown key"),
        # the wrong kind of value
        ("webhook = 5", "webhook", "must be a section, not a whole number"),
        ("[[webhook]]\npath = '/'", "webhook", "must be a section"),
        ("[webhook]\npath = 5", "webhook.path", "must be a text in quotes, not a whole number"),
        ("[webhook]\nmax_age_s = '300'", "webhook.max_age_s", "must be a number, not a text in quotes"),
        ("[webhook]\nmax_age_s = true", "webhook.max_age_s", "must be a number, not true or false"),
        ("[webhook]\nmax_age_s = 1979-05-27", "webhook.max_age_s", "not a date or time"),
        ("[webhook]\nmax_connections = 5.0", "webhook.max_connections", "must be a whole number"),
        ("[webhook]\nmax_connections = true", "webhook.max_connections", "must be a whole number"),
        ("[zoom]\nallow_plain_ws = 'false'", "zoom.allow_plain_ws", "must be true or false, without quotes"),
        ("[zoom]\nallow_plain_ws = 0", "zoom.allow_plain_ws", "must be true or false"),
        ("[zoom]\nallowed_hosts = '*.zoom.us'", "zoom.allowed_hosts", "must be a list"),
        ("[zoom]\nallowed_hosts = ['zoom.us', 1]", "zoom.allowed_hosts[1]", "must be a text in quotes"),
        ("[media]\naudio = 'L16'", "media.audio", "must be a section, not a text in quotes"),
        # numbers out of bounds
        ("[webhook]\nmax_age_s = 0", "webhook.max_age_s", "must be from 0.001 to 86400, not 0"),
        ("[webhook]\nmax_age_s = nan", "webhook.max_age_s", "not nan"),
        ("[webhook]\nmax_age_s = inf", "webhook.max_age_s", "not inf"),
        ("[webhook]\nmax_age_s = -1", "webhook.max_age_s", "not -1"),
        (f"[webhook]\nmax_age_s = 0x{'f' * 9000}", "webhook.max_age_s", "too large"),
        (f"[recording]\nkeep_bytes = 0x{'f' * 9000}", "recording.keep_bytes", "too large"),
        (f"[media.audio]\nchannels = 0x{'f' * 9000}", "media.audio.channels", "too large"),
        ("[recording]\nbuffer_bytes = 268", "recording.buffer_bytes", "must be from 65536"),
        ("[recording]\nkeep_days = -1", "recording.keep_days", "must be from 0"),
        ("[zoom]\nmax_message_bytes = 0", "zoom.max_message_bytes", "must be from 1024"),
        # a choice
        ("[log]\nlevel = 'warn'", "log.level", 'must be "debug" or "info" or "warning" or "error", not "warn"'),
        ("[log]\nformat = 'JSON'", "log.format", '"json"'),
        ("[media]\nconnections = 'both'", "media.connections", '"split" or "unified"'),
        ("[media]\ntypes = ['audio', 'vidoe']", "media.types[1]", '"video"'),
        ("[media]\ntypes = []", "media.types", "at least one"),
        ("[media]\ntypes = ['audio', 'audio']", "media.types", "'audio' more than once"),
        ("[media.transcript]\nlanguage = 'English'", "media.transcript.language", "did you mean 'english'?"),
        ("[media.transcript]\nlanguage = 'klingon'", "media.transcript.language", "one of auto, arabic"),
        ("[streams]\nrestart_policy = 'always'", "streams.restart_policy", '"none" or "api"'),
        # addresses, paths, hosts
        ("[webhook]\nlisten = '8080'", "webhook.listen", "host:port"),
        ("[webhook]\nlisten = ':8080'", "webhook.listen", '"0.0.0.0:8080"'),
        ("[webhook]\nlisten = '127.0.0.1:'", "webhook.listen", "host:port"),
        ("[webhook]\nlisten = '127.0.0.1:65536'", "webhook.listen", "from 0 to 65535"),
        ("[webhook]\nlisten = '127.0.0.1:http'", "webhook.listen", "host:port"),
        ("[webhook]\nlisten = '127.0.0.256:80'", "webhook.listen", "no host name or address"),
        ("[webhook]\nlisten = '::1:8080'", "webhook.listen", 'in brackets: "[::1]:8080"'),
        ("[webhook]\nlisten = '[::z]:8080'", "webhook.listen", "no IPv6 address"),
        ("[webhook]\nlisten = 'http://localhost:80'", "webhook.listen", "brackets"),
        ("[webhook]\nlisten = 'unix:web.sock'", "webhook.listen", "full path"),
        (f"[webhook]\nlisten = 'unix:/{'x' * 107}'", "webhook.listen", "too long for a Unix socket: 108 bytes"),
        ("[webhook]\npath = 'webhook'", "webhook.path", 'must start with "/"'),
        ("[webhook]\npath = '/a?b'", "webhook.path", "must start"),
        ("[webhook]\npath = '/<int:x>'", "webhook.path", "must start"),
        ("[webhook]\npath = '/healthz/'", "webhook.path", "health checks"),
        ("[admin]\nmetrics_listen = '9090'", "admin.metrics_listen", "host:port"),
        ("[admin]\nsocket = ''", "admin.socket", "must name a file"),
        (f"[admin]\nsocket = '/{'ü' * 60}'", "admin.socket", "121 bytes, at most 107"),
        ("[recording]\ndirectory = '~/recordings'", "recording.directory", "~ has no meaning here"),
        ('[recording]\ndirectory = "a\\u0000b"', "recording.directory", "must name a file"),
        ("[zoom]\nallowed_hosts = []", "zoom.allowed_hosts", "at least one"),
        ("[zoom]\nallowed_hosts = ['*']", "zoom.allowed_hosts[0]", "anywhere"),
        ("[zoom]\nallowed_hosts = ['wss://zoom.us']", "zoom.allowed_hosts[0]", "without scheme"),
        ("[zoom]\nallowed_hosts = ['zoom.us:443']", "zoom.allowed_hosts[0]", "without port"),
        ("[zoom]\nallowed_hosts = ['*zoom.us']", "zoom.allowed_hosts[0]", '"*."'),
        ("[zoom]\nallowed_hosts = ['a.*.us']", "zoom.allowed_hosts[0]", '"*."'),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, path: str, words: str) -> None:
    (mistake,) = mistakes_in(tmp_path, f"{text}\n{APP}")
    assert mistake.startswith(f"{path}: ")
    assert words in mistake
    assert "\n" not in mistake


@pytest.mark.parametrize(
    "text",
    [
        "[webhook]\nlisten = 'localhost:0'",
        "[webhook]\nlisten = 'unix:/run/rtmsd/web.sock'",
        f"[webhook]\nlisten = 'unix:/{'x' * 106}'",
        "[webhook]\npath = '/'",
        "[webhook]\npath = '/zoom/v2.0/hook_1'",
        "[zoom]\nallowed_hosts = ['::1', '10.0.0.1', 'sim_1', '*.zoom.us']",
        "[zoom]\nca_file = ''",
        "[admin]\nmetrics_listen = '127.0.0.1:9090'",
        "[media.transcript]\nlanguage = 'auto'",
        "[webhook]\nmax_age_s = 300\n[recording]\nkeep_days = 0",
    ],
)
def test_what_is_legal_at_the_edge(tmp_path: Path, text: str) -> None:
    load_text(tmp_path, f"{text}\n{APP}")


def test_every_mistake_in_one_go(tmp_path: Path) -> None:
    mistakes = mistakes_in(
        tmp_path,
        """
        listen = "127.0.0.1:8080"
        [webhook]
        listen = 8080
        [[app]]
        client_secret = "in the clear"
        [[app]]
        name = "two words"
        client_id = "b"
        client_secret = { file = "/nonexistent/secret" }
        webhook_secret = { value = "w" }
        [media.audio]
        codec = "G722"
        channels = 2
        [streams]
        reconnect_delay_s = 60
        """,
    )
    assert [mistake.split(":")[0] for mistake in mistakes] == [
        "listen",
        "webhook.listen",
        "app[0].client_id",
        "app[0].client_secret",
        "app[0].webhook_secret",
        "app[1].name",
        "app[1].client_secret",
        "media.audio.channels",
        "media.audio.send_rate_ms",
        "streams.reconnect_delay_s",
    ]


def test_a_wrong_key_is_one_mistake(tmp_path: Path) -> None:
    """G711 wants 8000 Hz, and the default of 16000 must not be held against a person who wrote 8000, if as a text."""
    mistakes = mistakes_in(tmp_path, f'{APP}[media.audio]\ncodec = "G711"\nsample_rate_hz = "8000"\nsend_rate_ms = 20')
    assert mistakes == ["media.audio.sample_rate_hz: must be a whole number, not a text in quotes"]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"[webhook\nlisten = 1", r"config\.toml: not TOML: .*line 1"),
        (b"[webhook]\nlisten = 'a'\nlisten = 'b'\n", r"not TOML: Cannot overwrite a value \(at line 3"),
        (b"[webhook]\npath = /webhook", r"not TOML: .*line 2"),
        (b"[webhook]\npath = '\xff'", r"not UTF-8 text \(line 2\)"),
        (b"x = " + b"[" * 5000, r"not TOML: nested too deeply"),
        (b"x = " + b"9" * 5000, r"not TOML: "),
    ],
)
def test_a_file_that_is_no_toml(tmp_path: Path, raw: bytes, words: str) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(raw)
    with pytest.raises(ConfigError) as caught:
        load(path)
    (mistake,) = caught.value.mistakes
    assert re.search(words, mistake)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path, words in ((tmp_path / "none.toml", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigError, match=f"cannot read {path}: {words}"):
            load(path)


def test_line_ends_and_byte_order_mark_of_other_systems(tmp_path: Path) -> None:
    assert load_text(tmp_path, "\ufeff" + APP.replace("\n", "\r\n")).apps[0].client_id == "abc"


def test_an_empty_text_is_no_section(tmp_path: Path) -> None:
    assert mistakes_in(tmp_path, APP + 'api = ""') == ["app[0].api: must be a section, not a text in quotes"]


def test_an_empty_file_lacks_only_an_app(tmp_path: Path) -> None:
    (mistake,) = mistakes_in(tmp_path, "")
    assert mistake.startswith("app: is missing")
    assert mistakes_in(tmp_path, "app = []") == [mistake]


def test_single_brackets_for_an_app(tmp_path: Path) -> None:
    assert mistakes_in(tmp_path, APP.replace("[[app]]", "[app]")) == ["app: takes two brackets: [[app]]"]
    assert mistakes_in(tmp_path, "app = 'main'") == ["app: must be a list, [ ... ], not a text in quotes"]
    assert mistakes_in(tmp_path, "app = ['main']") == ["app[0]: must be a section, not a text in quotes"]
