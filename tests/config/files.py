"""A configuration as a file, as the daemon reads it."""

from pathlib import Path

from rtmsd.config import Config, load


def load_text(directory: Path, text: str) -> Config:
    """Load a configuration that nobody else may read, so that there is nothing to warn of."""
    path = directory / "config.toml"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return load(path)
