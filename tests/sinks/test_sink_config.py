"""Sections [[sink]]: what is read, what is a mistake, what this machine lacks, and what a reload changes."""

from pathlib import Path

import attrs
import pytest

from rtmsd.config import (
    AppConfig,
    Change,
    Config,
    ExecConfig,
    as_masked_dict,
    describe_changes,
    load,
    until_restart,
    unusable,
)
from rtmsd.config.sinks import KINDS
from rtmsd.errors import ConfigError
from rtmsd.sinks.registry import FACTORIES, build

APP = '[[app]]\nclient_id = "a"\nclient_secret = { value = "b" }\nwebhook_secret = { value = "c" }\n'
EXEC = 'kind = "exec"\nname = "after"\ncommand = ["/bin/true", ""]\n'
CONFIG = Config(apps=(AppConfig(client_id="a", client_secret="b", webhook_secrets=("c",)),))
SINK = ExecConfig(name="after", kind="exec", command=("/bin/true", ""))


def read(directory: Path, *sinks: str) -> Config:
    path = directory / "config.toml"
    path.write_text(APP + "".join(f"[[sink]]\n{sink}" for sink in sinks))
    path.chmod(0o600)
    return load(path)


def test_every_kind_has_keys_and_a_factory() -> None:
    assert KINDS.keys() == FACTORIES.keys() - {"remux"}  # which has no section
    assert build([SINK], ()).keys() == {"after"}


def test_a_sink_with_its_defaults(tmp_path: Path) -> None:
    config = read(tmp_path, EXEC)
    assert config.sinks == (SINK,)
    assert (SINK.timeout_s, SINK.parallel, SINK.retry_s) == (60, 4, (5, 60, 600, 3600))
    assert as_masked_dict(config)["sink"][0]["command"] == ["/bin/true", ""]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ('name = "after"\ncommand = ["/bin/true"]', 'sink[0].kind: is missing: "exec"'),
        (EXEC.replace('"exec"', '"s3"'), 'sink[0].kind: must be "exec", not "s3"'),
        (EXEC.replace('"exec"', "1"), "sink[0].kind: must be a text"),
        ('kind = "exec"\ncommand = ["/bin/true"]', "sink[0].name: is missing"),
        (EXEC.replace('"after"', '"a b"'), "sink[0].name: must be 1 to 64 letters"),
        ('kind = "exec"\nname = "after"', "sink[0].command: is missing"),
        (EXEC.replace('["/bin/true", ""]', "[]"), "sink[0].command: must name at least one"),
        (EXEC.replace('["/bin/true", ""]', '"/bin/true"'), "sink[0].command: must be a list"),
        (EXEC.replace('["/bin/true", ""]', '["/bin/true", 1]'), "sink[0].command[1]: must be a text"),
        (EXEC.replace('["/bin/true", ""]', '["bin/true"]'), "sink[0].command: 'bin/true' must be a full path"),
        (EXEC.replace('["/bin/true", ""]', '["a\\u0000"]'), "sink[0].command: holds a NUL"),
        (EXEC.replace('["/bin/true", ""]', '["..."]'), "sink[0].command: '...' stands for a value"),
        (EXEC.replace('["/bin/true", ""]', '[""]'), "sink[0].command: '' must be a full path"),
        (EXEC + "timeout_s = 0", "sink[0].timeout_s: must be from 0.001"),
        (EXEC + "parallel = 0", "sink[0].parallel: must be from 1"),
        (EXEC + "retry_s = [5, -1]", "sink[0].retry_s[1]: must be from 0.001"),
        (EXEC + "retries = 3", "sink[0].retries: unknown key"),
    ],
)
def test_a_mistake_is_named_with_its_key(tmp_path: Path, text: str, mistake: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, f"{text}\n")
    (found,) = caught.value.mistakes
    assert found.startswith(mistake)


def test_names_are_unique_and_one_bracket_is_not_enough(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"sink\[1\]\.name: two sinks are named 'after'"):
        read(tmp_path, EXEC, EXEC)
    (tmp_path / "config.toml").write_text(f"{APP}[sink]\n{EXEC}")
    with pytest.raises(ConfigError, match=r"sink: takes two brackets: \[\[sink\]\]"):
        load(tmp_path / "config.toml")


@pytest.mark.parametrize(
    ("command", "why"), [("/nowhere", "is not there"), ("/etc/passwd", "cannot be executed"), ("sh", None)]
)
def test_a_program_that_this_machine_lacks_is_a_warning(tmp_path: Path, command: str, why: str | None) -> None:
    config = read(tmp_path, EXEC.replace("/bin/true", command))
    found = [line for line in unusable(config) if line.startswith("sink")]
    assert found == ([] if why is None else [f"sink[0].command: {command} {why}"])


def test_a_reload_says_what_changed_and_needs_no_restart() -> None:
    new = attrs.evolve(CONFIG, sinks=(SINK,))
    added = describe_changes(CONFIG, new)
    assert {change.path for change in added} == {
        f"sink[after].{key}" for key in ("name", "kind", "timeout_s", "parallel", "retry_s", "command")
    }
    assert not any(change.needs_restart for change in added)
    other = attrs.evolve(CONFIG, sinks=(attrs.evolve(SINK, parallel=1),))
    assert describe_changes(new, other) == [Change("sink[after].parallel", 4, 1, needs_restart=False)]
    assert until_restart(CONFIG, new).sinks == (SINK,)
