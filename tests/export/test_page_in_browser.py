"""The page of a recording, opened from disk in Chromium. Skipped where there is none."""

import os
from pathlib import Path
from typing import Any, Final

import pytest

from rtmsd.export.page.exporter import export
from rtmsd.export.report import Report
from rtmsd.export.request import Request
from rtmsd.export.source import Source
from rtmsd.export.text.plain import one_line
from rtmsd.recording.manifest.schema import GapEntry, PauseEntry
from tests.export.chromium import PROGRAM, Page, chromium
from tests.export.recordings import STARTED_MS, Made
from tests.export.test_page import HOSTILE, line, tone

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="needs Chromium")

ARTEFACTS: Final = os.environ.get("RTMSD_ARTEFACTS")
"""A directory for screenshots, for people to look at."""


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute of three speakers, with an utterance each second, a gap, a pause and chat."""
    made = Made(tmp_path_factory.mktemp("page") / "one")
    for user_id, name in ((1, "Ana"), (2, HOSTILE), (3, "عمر")):
        made.person(user_id, name)
        made.audio(user_id, 300 * user_id, (tone(5, level=4000 * user_id) + bytes(5 * 32_000 * user_id)) * 3)
    names = ("Ana", HOSTILE, "عمر")
    lines = [line(1 + n % 3, names[n % 3], f"number {n} {HOSTILE}", 1000 * n) for n in range(60)]
    lines.append(line(1, "Ana", "at the same time", 20_000))
    made.lines("transcript", lines)
    made.lines("events", [{"at_ms": 1, "kind": "participant_join", "zoom_ms": STARTED_MS, "user_name": HOSTILE}])
    made.lines("chat", [{"timestamp_ms": STARTED_MS + 4000, "user_id": 1, "user_name": "Ana", "text": HOSTILE}])
    made.gaps.append(GapEntry("audio", 2, STARTED_MS + 30_500, STARTED_MS + 34_800, "media_reconnect"))
    made.pauses.append(PauseEntry(STARTED_MS + 40_000, STARTED_MS + 45_000))
    return made.save()


def make_page(recording: Path, where: Path, **options: Any) -> str:
    """Make the page in a directory of the test, and return its address."""
    source = Source(recording)
    export(source, Request(format="page", output=str(where), is_forced=True, **options), Report(source))
    return (where / "page.html").as_uri()


async def test_a_page_from_disk_shows_all_and_asks_for_nothing(recording: Path, tmp_path: Path) -> None:
    address = make_page(recording, tmp_path)
    async with chromium(tmp_path / "profile") as page:
        await page.look(1300, 900)
        await page.open(address)
        assert await _count(page, ".lane:not(.thin) canvas") == 3
        assert await _count(page, "#list li") == 61 + 2
        assert await _count(page, "#list li.gap") == 2
        assert await _count(page, "#gaps tbody tr") == 2
        assert await page.value("document.querySelectorAll('.label bdi')[2].textContent") == HOSTILE
        assert await _count(page, "main script, main b b, bdi *") == 0
        await page.value("document.querySelector('#chat').open = true")
        await page.value("new Promise(done => setTimeout(done, 100))")
        chat = await page.value("document.querySelector('#chat tbody tr').textContent")
        assert chat == f"0:00:04Ana{one_line(HOSTILE)}"
        assert await page.value("document.querySelector('audio').duration") == pytest.approx(60, abs=30)
        for name, width, dark in (("light", 1300, False), ("dark", 1300, True), ("narrow", 390, False)):
            await page.look(width, 900, dark=dark)
            if ARTEFACTS:
                await page.value("new Promise(done => setTimeout(done, 200))")
                await page.screenshot(Path(ARTEFACTS) / f"page-{name}.png")
            assert await page.value("document.documentElement.scrollWidth") <= width
        assert page.complaints == []
        assert page.requests == [address]


async def test_hash_click_drag_and_keys_move_to_the_line_meant(recording: Path, tmp_path: Path) -> None:
    address = make_page(recording, tmp_path)
    async with chromium(tmp_path / "profile") as page:
        await page.look(1300, 900)
        await page.open(f"{address}#t=12")
        assert (await _line(page)).startswith("0:00:12Ananumber 12")
        # the first of two that begin together, and each of all others
        for number in (20, 21, 7, 59):
            await page.value(f"document.querySelectorAll('#list button')[{number}].click()")
            clicked = await page.value(f"document.querySelectorAll('#list button')[{number}].textContent")
            assert await _line(page) == clicked
        left, top, width = await page.value(
            "(box => [box.left, box.top, box.width])(document.querySelectorAll('canvas')[1].getBoundingClientRect())"
        )
        ends = await page.value("document.querySelector('[role=slider]').getAttribute('aria-valuemax')")
        await page.click(left + width / 2, top + 20)
        middle = await _position(page)
        assert middle == pytest.approx(int(ends) / 2, abs=1)
        assert f"0:00:{int(middle):02}" in await _line(page)
        await page.key("ArrowRight")
        assert await _position(page) == pytest.approx(middle + 5, abs=1)
        await page.drag(left + width / 4, top + 20, left + width / 2, top + 20)
        assert await _position(page) == pytest.approx(middle + 5, abs=1)
        await page.click(left + 1, top + 20)  # the left end is now at a quarter
        assert await _position(page) == pytest.approx(int(ends) / 4, abs=1)
        await page.click(left + 1, top + 20, count=2)
        await page.click(left + 1, top + 20)
        assert await _position(page) == 0
        assert page.complaints == []


async def test_playback_is_followed_by_the_list_and_not_by_the_page(recording: Path, tmp_path: Path) -> None:
    address = make_page(recording, tmp_path)
    async with chromium(tmp_path / "profile") as page:
        await page.look(800, 500)
        await page.open(f"{address}#t=40")
        await page.value("document.querySelector('audio').playbackRate = 8")
        before = await page.value("[scrollY, document.querySelector('#list').scrollTop]")
        await page.key(" ")
        await page.value(
            "new Promise(done => document.querySelector('audio').addEventListener('timeupdate', "
            "event => { if (event.target.currentTime > 46) done(); }))"
        )
        await page.key(" ")
        assert await page.value("document.querySelector('audio').paused")
        after = await page.value("[scrollY, document.querySelector('#list').scrollTop]")
        assert after[0] == before[0]
        assert after[1] > before[1]
        assert page.complaints == []


async def test_space_plays_also_where_a_line_has_the_focus(recording: Path, tmp_path: Path) -> None:
    address = make_page(recording, tmp_path)
    async with chromium(tmp_path / "profile") as page:
        await page.look(1300, 900)
        await page.open(f"{address}#t=40")
        await page.value("document.querySelectorAll('#list button')[5].focus()")
        await page.key(" ")
        assert not await page.value("document.querySelector('audio').paused")
        await page.key(" ")
        assert await page.value("document.querySelector('audio').paused")
        assert await _position(page) >= 40


async def test_lines_behind_the_end_of_the_sound_are_shown_when_they_are_clicked(tmp_path: Path) -> None:
    made = Made(tmp_path / "one")
    made.audio(1, 1000, tone(2))
    made.lines("transcript", [line(1, "Ana", f"number {n}", 1000 * n) for n in range(10)])
    address = make_page(made.save(ended_ms=STARTED_MS + 20_000), tmp_path)
    async with chromium(tmp_path / "profile") as page:
        await page.open(f"{address}#t=9")
        for number in (None, 0, 7):
            if number is not None:
                await page.value(f"document.querySelectorAll('#list button')[{number}].click()")
            await page.value("new Promise(done => setTimeout(done, 300))")
            assert await _position(page) == (9 if number is None else number)
            assert (await _line(page)).endswith(f"number {9 if number is None else number}")


async def test_readers_of_screens_hear_of_every_lane(recording: Path, tmp_path: Path) -> None:
    address = make_page(recording, tmp_path, audio="none")
    async with chromium(tmp_path / "profile") as page:
        await page.open(address)
        told = await page.told()
        assert ("slider", "Position") in told
        assert {("image", f"{name}, 15.0 s spoken") for name in ("Ana", "عمر")} <= set(told)


async def test_a_finger_that_is_gone_does_not_keep_the_list_from_following(recording: Path, tmp_path: Path) -> None:
    address = make_page(recording, tmp_path, audio="none")
    async with chromium(tmp_path / "profile") as page:
        await page.look(390, 900)
        await page.open(address)
        await page.value("document.querySelector('#list').scrollIntoView()")
        left, top = await page.value(
            "(box => [box.left, box.top])(document.querySelectorAll('#list li')[1].getBoundingClientRect())"
        )
        await page.tap(left + 50, top + 10)
        assert await _position(page) == 1
        await page.value("location.hash = '#t=50'")
        await page.value("new Promise(done => setTimeout(done, 200))")
        assert await _position(page) == 50
        assert await page.value("document.querySelector('#list').scrollTop") > 500


async def test_search_hides_what_does_not_fit(recording: Path, tmp_path: Path) -> None:
    address = make_page(recording, tmp_path, audio="none")
    async with chromium(tmp_path / "profile") as page:
        await page.open(address)
        await page.value("document.querySelector('#search').value = 'NUMBER 59'")
        await page.value("document.querySelector('#search').dispatchEvent(new Event('input')) || null")
        assert await _count(page, "#list li:not([hidden])") == 1
        assert await page.value("document.querySelector('#found').textContent") == "1 of 63"
        assert await _count(page, "audio") == 0


async def test_ten_thousand_lines_are_searched_at_once(tmp_path: Path) -> None:
    made = Made(tmp_path / "one")
    made.lines("transcript", [line(1, "Ana", f"number {n}", 1000 * n) for n in range(10_000)])
    address = make_page(made.save(ended_ms=STARTED_MS + 10_000_000), tmp_path)
    async with chromium(tmp_path / "profile") as page:
        await page.open(address)
        took_ms = await page.value(
            "(search => { const began = performance.now(); search.value = '77';"
            " search.dispatchEvent(new Event('input')); document.body.offsetHeight;"
            " return performance.now() - began; })(document.querySelector('#search'))"
        )
        assert await page.value("document.querySelector('#found').textContent") == "280 of 10000"
        assert took_ms < 3000  # 20 s, where each line that goes has all others counted anew


async def test_sound_beside_the_page_is_played_from_disk(recording: Path, tmp_path: Path) -> None:
    address = make_page(recording, tmp_path, audio="link")
    async with chromium(tmp_path / "profile") as page:
        await page.open(address)
        await page.value(
            "new Promise(done => { const audio = document.querySelector('audio');"
            " if (audio.readyState) done(); else audio.addEventListener('loadedmetadata', done); })"
        )
        assert await page.value("document.querySelector('audio').duration") > 40
        assert {request.rpartition("/")[2] for request in page.requests} == {"page.html", "page.wav"}
        assert page.complaints == []


async def _count(page: Page, selector: str) -> int:
    count: int = await page.value(f"document.querySelectorAll({selector!r}).length")
    return count


async def _line(page: Page) -> str:
    text: str = await page.value("document.querySelector('#list .now').textContent")
    return text


async def _position(page: Page) -> int:
    """Return the position, in seconds from the start."""
    return int(await page.value("document.querySelector('[role=slider]').getAttribute('aria-valuenow')"))
