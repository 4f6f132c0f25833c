"""Keys of [media] and [recording] under an app: what holds for it, where that is from, and mistakes."""

import json
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmsd.config import (
    AppConfig,
    AudioConfig,
    Config,
    MediaConfig,
    Overrides,
    RecordingConfig,
    as_masked_dict,
    describe_changes,
    effective,
    until_restart,
)
from rtmsd.errors import ConfigError
from tests.config.files import APP, load_text

MAIN, CARE = APP.format(name="main"), APP.format(name="care")


def mistakes_in(directory: Path, text: str) -> dict[str, str]:
    try:
        load_text(directory, text)
    except ConfigError as error:
        return {key: text for key, _, text in (mistake.partition(": ") for mistake in error.mistakes)}
    return {}


# Merging

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "types": st.sampled_from([("audio",), ("audio", "video"), ("chat",)]),
    "connections": st.sampled_from(["split", "unified"]),
    "audio.sample_rate_hz": st.sampled_from([8000, 16000, 48000]),
    "audio.channels": st.sampled_from([1, 2]),
    "audio.send_rate_ms": st.sampled_from([20, 40, 1000]),
    "video.fps": st.integers(1, 5),
    "share.resolution": st.sampled_from(["SD", "HD"]),
    "transcript.detect_language": st.booleans(),
}
KEYS = st.fixed_dictionaries({}, optional=VALUES)


def toml_of(section: str, keys: dict[str, Any]) -> str:
    """Each key in the table it belongs to; a value of JSON is one of TOML."""
    tables: dict[str, list[str]] = {}
    for key, value in keys.items():
        *below, name = [section, *key.split(".")]
        tables.setdefault(".".join(below), []).append(f"{name} = {json.dumps(value)}")
    return "".join(f"[{table}]\n" + "\n".join(rows) + "\n" for table, rows in tables.items())


def value_at(section: object, key: str) -> object:
    for name in key.split("."):
        section = getattr(section, name)
    return section


@given(KEYS, KEYS)
def test_an_apps_key_replaces_that_key_alone(wide: dict[str, Any], own: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as directory:  # one for each example
        config = load_text(Path(directory), MAIN + CARE + toml_of("app.media", own) + toml_of("media", wide))
    assert config.of_app("main") is config
    assert config.of_app("nobody") is config
    for key in VALUES:
        default = value_at(MediaConfig(), key)
        assert value_at(config.of_app("main").media, key) == wide.get(key, default)
        assert value_at(config.of_app("care").media, key) == own.get(key, wide.get(key, default))
        shown = effective(config)["care"][f"media.{key}"]
        assert shown["from"] == ("app" if key in own else "file" if key in wide else "default")
    assert as_masked_dict(config)["app"][1].get("media", {}) == tomllib.loads(toml_of("m", own)).get("m", {})


def test_the_recording_keys_of_an_app(tmp_path: Path) -> None:
    text = (
        MAIN
        + CARE
        + '[app.recording]\ndirectory = "care"\nkeep_days = 3\n[recording]\nkeep_bytes = 9\ndirectory = "all"'
    )
    config = load_text(tmp_path, text)
    care = config.of_app("care").recording
    assert care == attrs.evolve(config.recording, directory=tmp_path / "care", keep_days=3)
    assert config.directories == {tmp_path / "all": config.recording, tmp_path / "care": care}
    assert [config.directory_key(each) for each in config.directories] == [
        "recording.directory",
        "app[1].recording.directory",
    ]
    keys = {key: found for key, found in effective(config)["care"].items() if key.startswith("recording.")}
    assert keys == {
        "recording.directory": {"value": str(tmp_path / "care"), "from": "app"},
        "recording.keep_days": {"value": 3, "from": "app"},
        "recording.keep_bytes": {"value": 9, "from": "file"},
        "recording.remux": {"value": "off", "from": "default"},
    }


# Mistakes


@pytest.mark.parametrize(
    ("text", "path", "why"),
    [
        ("[app.media]\ntypes = []", "app[1].media.types", "must name at least one"),
        ('[app.media.audio]\ncodec = "MP3"', "app[1].media.audio.codec", "must be"),
        ("[app.media.audio]\ncodecs = 1", "app[1].media.audio.codecs", "did you mean codec?"),
        ("[app.media]\nsample_rate_hz = 1", "app[1].media.sample_rate_hz", "belongs in section app[1].media.audio"),
        ("[app]\nmedia = 1", "app", "two brackets"),
        ("media = 1", "app[1].media", "must be a section"),
        ("[app.media]\naudio = 1", "app[1].media.audio", "must be a section"),
        ("[app.recording]\nbuffer_bytes = 65536", "app[1].recording.buffer_bytes", "section recording alone"),
        ("[app.recording]\nmin_free_bytes = 1", "app[1].recording.min_free_bytes", "holds for all apps"),
        ("[app.recording]\nkeep_days = -1", "app[1].recording.keep_days", "must be from 0"),
        ('[app.recording]\ndirectory = "~/x"', "app[1].recording.directory", "~ has no meaning"),
        ("[app.recording]\nkeep_dais = 1", "app[1].recording.keep_dais", "did you mean keep_days?"),
    ],
)
def test_a_mistake_names_the_apps_key(tmp_path: Path, text: str, path: str, why: str) -> None:
    found = mistakes_in(tmp_path, (CARE if path == "app" else MAIN + CARE) + text)
    if path == "app":  # TOML itself refuses a table of the name of the list
        assert found
    else:
        assert list(found) == [path]
        assert why in found[path]


@pytest.mark.parametrize(
    ("own", "wide", "paths"),
    [
        # G711 goes with 8000 Hz and 20 ms alone.
        ('codec = "G711"', "", ["app[1].media.audio.sample_rate_hz", "app[1].media.audio.send_rate_ms"]),
        ('codec = "G711"\nsample_rate_hz = 16000\nsend_rate_ms = 20', "", ["app[1].media.audio.sample_rate_hz"]),
        ('codec = "G711"\nsample_rate_hz = 8000\nsend_rate_ms = 20', "", []),
        ('codec = "G711"', "sample_rate_hz = 8000\nsend_rate_ms = 20", []),
        ("send_rate_ms = 30", "", ["app[1].media.audio.send_rate_ms"]),
        ("send_rate_ms = 40", "send_rate_ms = 30", ["media.audio.send_rate_ms"]),  # `main` has it still
        ("", "send_rate_ms = 30", ["media.audio.send_rate_ms"]),  # once, not for each app
    ],
)
def test_rules_between_keys_hold_for_what_is_effective(tmp_path: Path, own: str, wide: str, paths: list[str]) -> None:
    text = f"{MAIN}{CARE}[app.media.audio]\n{own}\n[media.audio]\n{wide}"
    assert list(mistakes_in(tmp_path, text)) == paths


def test_what_no_app_uses_need_not_go_together(tmp_path: Path) -> None:
    text = f"{CARE}[app.media.audio]\nsend_rate_ms = 20\n[media.audio]\nsend_rate_ms = 30"
    assert mistakes_in(tmp_path, text) == {}


def test_the_error_says_that_the_value_is_the_files(tmp_path: Path) -> None:
    found = mistakes_in(
        tmp_path, f'{CARE}[app.media.audio]\ncodec = "G722"\nsend_rate_ms = 20\n[media.audio]\nsample_rate_hz = 8000'
    )
    assert "[media.audio]" in found["app[0].media.audio.sample_rate_hz"]


def test_a_mistake_in_another_app_hides_none(tmp_path: Path) -> None:
    """The first app is left out, as it has no `client_id`; the second keeps its number."""
    text = f'[[app]]\nname = "x"\n{CARE}[app.media.audio]\nsend_rate_ms = 30'
    found = mistakes_in(tmp_path, text)
    assert "app[1].media.audio.send_rate_ms" in found
    assert "app[0].client_id" in found


# Directories


@pytest.mark.parametrize(
    ("text", "path", "why"),
    [
        ('[app.recording]\ndirectory = "all/care"\n', "app[1].recording.directory", "is inside"),
        ('[app.recording]\ndirectory = "."\n', "recording.directory", "is inside"),
        ('[app.recording]\ndirectory = "link"\n', "app[1].recording.directory", "by another name"),
        ('[app.recording]\ndirectory = "all/../all"\n', "app[1].recording.directory", "by another name"),
        ("[app.recording]\nkeep_days = 3\n", "app[1].recording.keep_days", "different limits"),
        ("[app.recording]\nkeep_bytes = 3\n", "app[1].recording.keep_bytes", "different limits"),
    ],
)
def test_directories_and_limits_that_do_not_go_together(tmp_path: Path, text: str, path: str, why: str) -> None:
    (tmp_path / "all").mkdir()
    (tmp_path / "link").symlink_to("all")
    found = mistakes_in(tmp_path, f'{MAIN}{CARE}{text}[recording]\ndirectory = "all"')
    assert list(found) == [path]
    assert why in found[path]


def test_apps_may_share_a_directory_with_its_limits(tmp_path: Path) -> None:
    own = '[app.recording]\ndirectory = "both"\nkeep_days = 3\n'
    config = load_text(tmp_path, f"{MAIN}{own}{CARE}{own}")
    assert [each.name for each in config.directories] == ["recordings", "both"]
    assert config.directories[tmp_path / "both"].keep_days == 3


# Reloads


def app(name: str, directory: str | None = None, **media: Any) -> AppConfig:
    recording = () if directory is None else (("directory", Path(directory)),)
    return AppConfig(
        name=name,
        client_id="c",
        client_secret="s",
        webhook_secrets=(name,),
        media=Overrides(tuple(media.items())),
        recording=Overrides(recording),
    )


def test_a_directory_waits_for_a_restart_and_all_else_holds_at_once() -> None:
    old = Config(apps=(app("main"), app("care", "/care"), app("gone", "/gone")))
    new = Config(
        apps=(app("main", "/main", types=("audio",)), app("care"), app("new", "/new")),
        recording=RecordingConfig(keep_days=3),
    )
    changes = {change.path: change.needs_restart for change in describe_changes(old, new)}
    assert changes["app[main].recording.directory"]
    assert changes["app[care].recording.directory"]
    assert changes["app[new].recording.directory"]
    assert not changes["app[main].media.types"]
    in_force = until_restart(old, new)
    usual = Config().recording.directory
    found = [in_force.of_app(name).recording.directory for name in ("main", "care", "new", "gone")]
    assert found == [usual, Path("/care"), usual, usual]
    assert in_force.of_app("main").media.types == ("audio",)
    assert list(in_force.directories) == [usual, Path("/care")]
    assert not describe_changes(in_force, until_restart(in_force, in_force))


def test_limits_that_a_reload_brings_together_delete_least() -> None:
    careful = attrs.evolve(app("main"), recording=Overrides((("keep_days", 30), ("keep_bytes", 7))))
    hasty = attrs.evolve(app("new"), recording=Overrides((("keep_days", 1),)))
    [rules] = Config(apps=(careful, hasty)).directories.values()
    assert (rules.keep_days, rules.keep_bytes) == (30, 0)


def test_what_holds_for_an_app_is_found_without_reading_the_whole_file_again() -> None:
    """It is asked for every second for each directory, which with 64 apps took most of a processor's core."""
    hashed = 0

    class Counted(str):
        __slots__ = ()

        def __hash__(self) -> int:
            nonlocal hashed
            hashed += 1
            return super().__hash__()

    config = Config(apps=tuple(app(Counted(f"app{number}"), f"/srv/{number}") for number in range(200)))
    for _ in range(3):
        assert len(config.directories) == 201
    assert hashed <= 400
    assert config.of_app("app1") is config.of_app("app1")


def test_parameters_of_many_apps_are_made_once() -> None:
    codecs = [MediaConfig(audio=AudioConfig(send_rate_ms=20 * number)) for number in range(1, 9)]
    first = [each.params() for each in codecs]
    assert all(again is each for each, again in zip(first, [each.params() for each in codecs], strict=True))
