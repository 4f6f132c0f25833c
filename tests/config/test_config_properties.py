"""Reading any file ends in a configuration or in mistakes of one line each, and reveals no secret."""

import math
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rtmsd.config import ClusterConfig, Config, as_masked_dict
from rtmsd.config.checks import check
from rtmsd.config.reading import Reader

SECRET = "never-to-be-seen"
SECTIONS = as_masked_dict(Config(cluster=ClusterConfig()))
KEYS = sorted({*SECTIONS, *(key for section in SECTIONS.values() if isinstance(section, dict) for key in section)})
DEFAULTS = [value for section in SECTIONS.values() if isinstance(section, dict) for value in section.values()]

keys = st.sampled_from([*KEYS, "client_id", "client_secret", "webhook_secret", "api"]) | st.text(max_size=8)
leaves = (
    st.sampled_from(DEFAULTS).filter(lambda value: not isinstance(value, dict))
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.dates()
    | st.just({"value": SECRET})
    | st.just({"valu": SECRET})
)
values = leaves | st.lists(leaves, max_size=3) | st.dictionaries(keys, leaves, max_size=3)
tables = st.dictionaries(keys, values, max_size=5)


@given(table=tables | st.dictionaries(st.sampled_from(list(SECTIONS)), tables | st.lists(tables, max_size=2)))
def test_any_table(table: dict[str, Any]) -> None:
    reader = Reader(Config, Path(__file__))
    config = reader.table(Config, table)
    assert config is not None
    check(config, reader)
    lines = [f"{path}: {text}" for path, text in reader.mistakes.items()]
    assert not any("\n" in line or SECRET in line for line in [*lines, *reader.warnings])


@given(seconds=st.floats() | st.integers())
def test_a_duration_is_kept_or_refused(seconds: float) -> None:
    reader = Reader(Config, Path(__file__))
    config = reader.table(Config, {"streams": {"connect_timeout_s": seconds}})
    assert config is not None
    if reader.mistakes:
        assert list(reader.mistakes) == ["streams.connect_timeout_s"]
        assert math.isnan(seconds) or not 0.001 <= seconds <= 86_400
    else:
        assert config.streams.connect_timeout_s == seconds
