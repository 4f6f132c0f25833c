"""Members with parts of a stream."""

from pathlib import Path

import pytest

from tests.cluster.parts.gathering import Cluster


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    return Cluster(tmp_path, monkeypatch)
