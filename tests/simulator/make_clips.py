"""The maker of the simulator's clips: `python -m tests.simulator.make_clips`, in an environment with PyAV."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rtmsd.protocol.enums import PayloadType
from rtmsd.simulator.media import clips, opus
from rtmsd.simulator.media.frames import encode_frames
from rtmsd.simulator.media.voices import speech

DIRECTORY: Final = Path(clips.__file__).with_name("clips")
_PICTURE: Final = (96, 64)
_PICTURES: Final = 32
_OPUS_MS: Final = 3000
_OPUS_BIT_RATE: Final = 12000


def main() -> None:
    for codec in (PayloadType.H264, PayloadType.JPG, PayloadType.PNG):
        _write(codec.name.lower(), list(itertools.islice(encode_frames(codec, *_PICTURE, fps=5), _PICTURES)))
    for channels in (1, 2):
        for voice in range(opus.CLIP_VOICES):
            packets = opus.encode(speech(voice, opus.RATE_HZ, _OPUS_MS), channels, _OPUS_BIT_RATE)
            assert packets is not None, "PyAV is not installed"
            _write(f"opus-{channels}-{voice}", packets)


def _write(name: str, packets: Sequence[bytes]) -> None:
    path = DIRECTORY / f"{name}.clip"
    path.write_bytes(clips.clip_bytes(packets))
    print(path.name, len(packets), path.stat().st_size)


if __name__ == "__main__":
    main()
