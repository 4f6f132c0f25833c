"""Media parameters in words, for people and for manifests: the names and units of the configuration."""

from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Any, Final

import attrs

from rtmsd.protocol.enums import ContentType, DataOption, PayloadType, Resolution, SampleRate
from rtmsd.protocol.languages import TranscriptLanguage
from rtmsd.protocol.media_params import SECTIONS
from rtmsd.protocol.media_types import NAMES
from rtmsd.protocol.messages import MediaParams


def summary(params: MediaParams) -> dict[str, dict[str, Any]]:
    """Return what each medium is asked for, or granted, with; media that are left out are left out here, too."""
    return {
        NAMES[bit]: _section(section)
        for name, bit in SECTIONS.items()
        if (section := getattr(params, name)) is not None
    }


def _section(section: Any) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for field, value in attrs.asdict(section).items():
        name, describe = _FIELDS.get(field, (field, _as_it_is))
        told[name] = None if value is None else describe(value)
    return told


def _as_it_is(value: Any) -> Any:
    return value


def _name(names: type[IntEnum]) -> Callable[[int], str | int]:
    """Return what names a number; one that is not known is told as it is."""

    def name(value: int) -> str | int:
        return names(value).name if value in {member.value for member in names} else value

    return name


def _hertz(index: int) -> int:
    """An index that is not known is told as it is: far below any rate."""
    return SampleRate(index).hz if index in {rate.value for rate in SampleRate} else index


_FIELDS: Final[Mapping[str, tuple[str, Callable[[Any], Any]]]] = {
    "content_type": ("content_type", _name(ContentType)),
    "codec": ("codec", _name(PayloadType)),
    "sample_rate": ("sample_rate_hz", _hertz),
    "channel": ("channels", _as_it_is),
    "data_opt": ("data_opt", _name(DataOption)),
    "send_rate": ("send_rate_ms", _as_it_is),
    "resolution": ("resolution", _name(Resolution)),
    "src_language": ("language", _name(TranscriptLanguage)),
    "enable_lid": ("detect_language", _as_it_is),
}
