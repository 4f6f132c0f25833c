"""Decoders of audio."""

import pytest

from rtmsd.recording.media.codecs.decoders import G722Decoder


def test_g722_doubles_the_bytes_fourfold() -> None:
    pytest.importorskip("G722")
    assert len(G722Decoder()(bytes(160))) == 640
