"""The reference config.toml, which people copy: it loads, names every key, and shows each default."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rtmsd.config import ClusterConfig, Config, as_masked_dict, load
from rtmsd.errors import ConfigError
from tests.config.files import SEED

REFERENCE = Path(__file__).parents[2] / "config.toml"
SECRETS = {"/etc/rtmsd/client_secret": "client_secret", "/etc/rtmsd/webhook_secret": "webhook_secret"}
ALL_SECRETS = SECRETS | {f"/etc/rtmsd/{name}": name for name in ("api_secret", "nats_password", "nats_nkey")}


def with_secrets_in(directory: Path, text: str) -> Path:
    """Copy the reference as a user would: the secrets in files of their own, and the API's section taken in."""
    for there, here in ALL_SECRETS.items():
        secret = directory / here
        secret.touch(0o600)
        secret.write_text(f"{SEED if here == 'nats_nkey' else f'{here}-of-main'}\n")
        text = text.replace(there, str(secret))
    for key in ("client_id", "key"):
        text = text.replace(f'{key} = "..."', f'{key} = "of-main"')
    path = directory / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


def uncommented(text: str) -> str:
    return re.sub(r"^#(?! )", "", text, flags=re.MULTILINE)


def test_the_reference_is_the_defaults(tmp_path: Path) -> None:
    config = load(with_secrets_in(tmp_path, REFERENCE.read_text(encoding="utf-8")))
    assert config == Config(apps=config.apps)
    (app,) = config.apps
    assert (app.name, app.api) == ("main", None)
    assert (app.client_secret, app.webhook_secrets) == ("client_secret-of-main", ("webhook_secret-of-main",))


def test_the_reference_names_every_key(tmp_path: Path) -> None:
    text = uncommented(REFERENCE.read_text(encoding="utf-8"))
    one_kind = text.replace("\npassword =", "\n#password =")  # the file names both kinds of credentials
    config = load(with_secrets_in(tmp_path, one_kind))
    assert list(_paths(tomllib.loads(text))) == list(_paths(as_masked_dict(config)))
    api = config.apps[0].api
    assert api is not None
    assert api.secret == "api_secret-of-main"
    assert config.cluster is not None
    assert config.cluster == ClusterConfig(servers=config.cluster.servers, nkey=SEED)


def _paths(table: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The keys of all sections, sorted: `app` comes first in the file, and a secret is one key whatever its form."""
    paths: list[str] = []
    for key, value in table.items():
        if isinstance(value, Mapping) and "file" not in value:
            paths += _paths(value, f"{prefix}{key}.")
        elif key in {"app", "sink"}:
            paths += _paths(value[0], f"{key}.")
        else:
            paths.append(prefix + key)
    return sorted(paths)


@pytest.mark.skipif(any(Path(secret).exists() for secret in SECRETS), reason="rtmsd is configured on this machine")
def test_as_it_comes_it_lacks_only_the_credentials() -> None:
    with pytest.raises(ConfigError) as caught:
        load(REFERENCE)
    placeholder, *missing = caught.value.mistakes
    assert placeholder.startswith("app[0].client_id: '...' stands for a value")
    assert [mistake.split(";")[0] for mistake in missing] == [
        f"app[0].{key}: there is no file {path}" for path, key in SECRETS.items()
    ]
