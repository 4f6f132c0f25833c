"""Images one by one, byte for byte as they came."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rtmsd.ctl.errors import Exit
from rtmsd.ctl.main import main
from tests.export.filmed import SIZE, Sent, add_pictures, h264, number_of, still
from tests.export.recordings import STARTED_MS, Made

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path / "one")


def export(made: Made, *args: str) -> int:
    return main(["recordings", "export", str(made.directory), "--format", "images", *args])


def names(directory: Path) -> list[str]:
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())


def test_each_image_is_a_file(made: Made) -> None:
    add_pictures(made, "video/5.mjpeg", [Sent(200 * n, still("JPEG", n)) for n in range(3)])
    add_pictures(made, "video/5-2.mjpeg", [Sent(2000, still("JPEG", 3))])
    add_pictures(made, "share/6.pngs", [Sent(50, still("PNG", 9))])
    add_pictures(made, "share/7.png", [Sent(60, still("PNG", 10))], has_segments=False)  # of before
    made.save()
    assert export(made) == Exit.OK
    images = made.directory / "export/images"
    assert names(images) == [
        f"share-6/000001-{STARTED_MS + 50}.png",
        f"share-7/000001-{STARTED_MS + 60}.png",
        *(f"video-5/00000{n}-{STARTED_MS + ms}.jpg" for n, ms in ((1, 0), (2, 200), (3, 400), (4, 2000))),
    ]
    numbers = []
    for name in names(images):
        with Image.open(images / name) as image:
            assert (image.size, image.format) == (SIZE, "PNG" if name.startswith("share") else "JPEG")
            numbers.append(number_of(np.asarray(image.convert("L"))))
    assert numbers == [9, 10, 0, 1, 2, 3]


def test_what_is_no_image_is_named(made: Made, capsys: Capture) -> None:
    add_pictures(made, "video/5.mjpeg", [Sent(0, still("JPEG", 0)), Sent(1, b"no"), Sent(2, still("JPEG", 2))])
    made.save()
    assert export(made) == Exit.FAILED
    assert len(names(made.directory / "export/images")) == 2
    assert "video/5.mjpeg: messages that are no JPG, not exported: 1" in capsys.readouterr().err


def test_h264_has_no_images(made: Made, capsys: Capture) -> None:
    add_pictures(made, "video/5.h264", [Sent(0, unit) for unit in h264(range(2))])
    made.save()
    assert export(made) == Exit.FAILED
    assert "`rtmsctl recordings remux" in capsys.readouterr().err


def test_a_part_into_a_directory(made: Made, tmp_path: Path, capsys: Capture) -> None:
    add_pictures(made, "video/5.mjpeg", [Sent(1000 * n, still("JPEG", n)) for n in range(5)])
    made.save()
    target = tmp_path / "there"
    target.mkdir()
    assert export(made, "--from", "0:00:01", "--to", "0:00:03", "--output", str(target), "--json") == Exit.OK
    assert names(target) == [f"video-5/00000{n}-{STARTED_MS + 1000 * n}.jpg" for n in (1, 2)]
    assert [file["user_id"] for file in json.loads(capsys.readouterr().out)["files"]] == [5, 5]
    assert export(made, "--from", "0:00:01", "--to", "0:00:03", "--output", str(target)) == Exit.FAILED
