"""A configuration as a file, as the daemon reads it."""

from pathlib import Path

from rtmsd.config import Config, load

APP = """
[[app]]
name = "{name}"
client_id = "abc"
client_secret = {{ value = "client-{name}" }}
webhook_secret = {{ value = "webhook-{name}" }}
"""
"""A section for an app with a name."""

SEED = "SUAAAAICAMCAKBQHBAEQUCYMBUHA6EARCIJRIFIWC4MBSGQ3DQOR4H776Y"
"""Of a user's nkey."""


def load_text(directory: Path, text: str) -> Config:
    """Load a configuration that nobody else may read, so that there is nothing to warn of."""
    path = directory / "config.toml"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return load(path)
