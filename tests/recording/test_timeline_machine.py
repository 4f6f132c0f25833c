"""The timeline against a world that knows what really happened: nothing missing unexplained, nothing pretended.

The world counts in ticks. It knows who spoke in which, and when which connection really lived, which the timeline must
find out from what is reported to it. At the end what is missing in the world is held against what the gaps say.
"""

import copy
import json
import math
from typing import Any, Final

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rtmsd.recording.manifest.entry import to_json
from rtmsd.recording.manifest.schema import manifest_from_json, new_manifest
from rtmsd.recording.timeline.resuming import resume_timeline
from rtmsd.recording.timeline.timeline import Timeline
from rtmsd.recording.verify.times import verify_manifest

T: Final = 1_790_000_000_000
TICK_MS: Final = 100
EXTEND: Final = 11  # ticks for the first packet after the first word
SILENT: Final = 150
LATE: Final = 10
USERS: Final = (5, 6)
CAUSES: Final = ("media_reconnect", "signaling_reconnect", "server_failover")


def ms(tick: int) -> int:
    return T + TICK_MS * tick


@attrs.define
class Link:
    """A connection. `settled`: when Zoom was heard first; `life`: the last that may be taken for a sign of life."""

    number: int
    media: frozenset[str]
    opened: int
    dead_since: int | None = None
    settled: int | None = None
    life: int | None = None
    arrivals: int = 0


@attrs.define
class Disk:
    """The state that outlives a kill."""

    manifest: dict[str, Any] | None = None
    revision: int = -1
    kept: set[tuple[int, int]] = attrs.field(factory=set)
    assured: dict[str, set[int]] = attrs.field(factory=dict)
    at: int = 0


class World(RuleBasedStateMachine):
    @initialize(unified=st.booleans(), with_time=st.booleans(), is_zooms=st.booleans(), closes_first=st.booleans())
    def begin(self, unified: bool, with_time: bool, is_zooms: bool, closes_first: bool) -> None:
        media = [frozenset({"audio", "transcript"})] if unified else [frozenset({"audio"}), frozenset({"transcript"})]
        self.media = {"+".join(sorted(names)): names for names in media}
        self.with_time, self.is_zooms, self.closes_first = with_time, is_zooms, closes_first
        self.now = 0
        self.timeline = Timeline(T)
        self.disk = Disk()
        self.links: dict[str, Link] = {}
        self.answered = False  # whether Zoom said on this signaling connection whether it is paused
        self.is_paused = False
        self.paused: set[int] = set()
        self.unheard: set[int] = set()
        self.resumed_at = 0
        self.known: set[str] = set()  # media types that were connected once
        self.down: dict[str, set[int]] = {"audio": set(), "transcript": set()}
        self.assured: dict[str, set[int]] = {"audio": set(), "transcript": set()}
        self.spoken: set[tuple[int, int]] = set()
        self.kept: set[tuple[int, int]] = set()
        self.buffer: list[tuple[int, int]] = []
        self.arrivals = 0

    # What the world does

    def is_up(self, name: str) -> bool:
        return name in self.links and self.links[name].dead_since is None

    @property
    def audio(self) -> str:
        return next(name for name, media in self.media.items() if "audio" in media)

    def tick(self) -> None:
        if self.is_paused:
            self.paused.add(self.now)
        for name, media in self.media.items():
            if not self.is_up(name):
                for each in media & self.known:
                    self.down[each].add(self.now)
        self.now += 1

    def take(self, user_id: int, tick: int) -> None:
        from_ms = ms(tick)
        if from_ms < self.timeline.audio_watch_ms:
            self.timeline.covered("audio", user_id, from_ms, from_ms + TICK_MS)
        self.kept.add((user_id, tick))
        self.arrivals += 1

    def deliver(self) -> None:
        """Zoom sends what it buffered; media in a pause show that it ended."""
        for packet in self.buffer:
            self.take(*packet)
        self.buffer.clear()
        paused_ms, newest_ms = self.timeline.pauses.since_ms, self.newest_ms(("audio",))
        if paused_ms is not None and newest_ms is not None and newest_ms > paused_ms + LATE * TICK_MS:
            self.timeline.resumed(newest_ms, by_now=True)

    def newest_ms(self, media: tuple[str, ...]) -> int | None:
        return max((ms(tick + 1) for _, tick in self.kept), default=None) if "audio" in media else None

    def heard(self, link: Link | None) -> None:
        """Zoom says what time it is, on signaling or on a media connection."""
        self.timeline.heard(ms(self.now), None if link is None else link.number)
        for each in self.links.values():
            each.life = self.now if each.life is None else each.life
            if each.settled is None and self.now > each.opened:
                each.settled = self.now

    def sign(self, link: Link) -> None:
        link.life = self.now
        if link.settled is not None:
            for each in link.media:
                self.assured[each] |= set(range(link.settled + EXTEND, self.now))

    def look(self) -> None:
        newest_ms = self.newest_ms(("audio",))
        self.timeline.clock_ms = max(self.timeline.clock_ms, newest_ms or 0)
        arrived = self.arrivals
        self.timeline.connections.brought(
            self.newest_ms, lambda media: arrived if "audio" in media else 0, self.timeline.clock_ms
        )
        link = self.links.get(self.audio)
        if link is not None and link.arrivals != self.arrivals:
            link.arrivals = self.arrivals
            link.life = self.now

    def lose(self, name: str, cause: str) -> None:
        self.look()
        link = self.links.pop(name)
        self.timeline.lost(link.number, self.newest_ms(tuple(link.media)), cause, "lost")

    # Rules

    @rule(ticks=st.integers(1, 30) | st.just(SILENT + 10))
    def silence(self, ticks: int) -> None:
        for _ in range(ticks):
            self.tick()

    @rule(user_id=st.sampled_from(USERS), ticks=st.integers(1, 12))
    def speech(self, user_id: int, ticks: int) -> None:
        for _ in range(ticks):
            if not self.is_paused:
                self.spoken.add((user_id, self.now))
                if self.audio not in self.links:
                    self.buffer.append((user_id, self.now))
                elif self.is_up(self.audio):
                    self.buffer.append((user_id, self.now))
                    self.deliver()
            self.tick()
        if self.is_up(self.audio) and not self.is_paused:
            self.sign(self.links[self.audio])

    @precondition(lambda self: self.is_up(self.audio) and not self.is_paused and self.timeline.pauses.since_ms is None)
    @rule(user_id=st.sampled_from(USERS))
    def no_room(self, user_id: int) -> None:
        self.deliver()
        self.spoken.add((user_id, self.now))
        self.timeline.missing("audio", user_id, ms(self.now), ms(self.now + 1), "dropped")
        self.tick()

    @precondition(lambda self: self.is_up("signaling"))
    @rule()
    def word_on_signaling(self) -> None:
        self.heard(None)

    @rule(which=st.integers(0, 1))
    def keep_alive(self, which: int) -> None:
        names = [name for name in self.media if self.is_up(name)]
        if names:
            link = self.links[names[which % len(names)]]
            if "audio" in link.media:  # keep-alives come where nothing else is to be sent
                self.deliver()
            self.heard(link)
            self.sign(link)

    @rule()
    def flush(self) -> None:
        self.look()
        self.disk.kept = set(self.kept)
        self.disk.at = self.now
        if self.timeline.changes.count != self.disk.revision or self.now % 2:
            self.disk.manifest = self.manifest("active", None)
            self.disk.revision = self.timeline.changes.count
            self.disk.assured = copy.deepcopy(self.assured)

    @precondition(lambda self: "signaling" not in self.links)
    @rule()
    def signaling_connects(self) -> None:
        self.links["signaling"] = Link(self.timeline.connected("signaling", ()), frozenset(), self.now)
        self.answered = self.timeline.pauses.since_ms is None

    @precondition(lambda self: self.is_up("signaling"))
    @rule(which=st.integers(0, 1))
    def media_connect(self, which: int) -> None:
        names = [name for name in self.media if name not in self.links]
        if not names:
            return
        name = names[which % len(names)]
        media = self.media[name]
        self.links[name] = Link(self.timeline.connected("media", media), media, self.now, arrivals=self.arrivals)
        self.look()
        self.known |= media

    @precondition(lambda self: self.is_up("signaling"))
    @rule(which=st.integers(0, 1))
    def media_refused(self, which: int) -> None:
        """Missing since the start, or the end of the last connection; until granted, if ever."""
        names = [name for name in self.media if name not in self.links]
        if not names:
            return
        media = self.media[names[which % len(names)]]
        self.timeline.refused(media)
        for each in media - self.known:
            self.down[each] |= set(range(self.now))
        self.known |= media

    @precondition(lambda self: self.is_up("signaling") and len(self.links) > 1)
    @rule()
    def zoom_answers_whether_it_is_paused(self) -> None:
        self.heard(None)
        if self.is_paused:
            self.timeline.paused(ms(self.now))
        else:
            self.timeline.resumed(ms(self.now))
        self.answered = True

    @precondition(lambda self: not self.links)
    @rule()
    def all_connect(self) -> None:
        self.signaling_connects()
        for _ in self.media:
            self.media_connect(0)
        self.zoom_answers_whether_it_is_paused()

    @precondition(lambda self: self.is_up(self.audio))
    @rule()
    def buffer_comes(self) -> None:
        self.deliver()

    @rule(which=st.integers(0, 1), cause=st.sampled_from(CAUSES))
    def media_lost(self, which: int, cause: str) -> None:
        names = [name for name in self.media if name in self.links]
        if names:
            self.lose(names[which % len(names)], cause)

    @precondition(lambda self: "signaling" in self.links)
    @rule(cause=st.sampled_from(CAUSES[1:]))
    def signaling_lost(self, cause: str) -> None:
        for name in [*(name for name in self.media if name in self.links), "signaling"]:
            self.lose(name, cause)
        self.timeline.same_outage(cause)

    @rule(which=st.integers(0, 2))
    def plays_dead(self, which: int) -> None:
        names = list(self.links)
        if names:
            link = self.links[names[which % len(names)]]
            link.dead_since = self.now if link.dead_since is None else link.dead_since

    @precondition(lambda self: not self.is_up("signaling") or self.answered)
    @rule()
    def pause_or_resume(self) -> None:
        if not self.is_paused and self.is_up(self.audio):
            self.deliver()
        self.is_paused = not self.is_paused
        if self.is_paused:  # resumed and paused again, and nobody heard either: nobody can know
            self.unheard |= set(range(self.resumed_at, self.now)) if not self.is_up("signaling") else set()
        else:
            self.resumed_at = self.now
        if self.is_up("signaling"):
            self.heard(None)
            (self.timeline.paused if self.is_paused else self.timeline.resumed)(ms(self.now))

    @rule()
    def killed_and_started_again(self) -> None:
        disk = self.disk
        for media in self.known:  # whatever came since is lost
            self.down[media] |= set(range(disk.at, self.now))
        if self.is_paused:  # as far as the disk knows it was so all the time, or may have been since it was last heard
            pauses = [] if disk.manifest is None else disk.manifest["pauses"]
            doubted_ms = [pause["sure_until_ms"] for pause in pauses[-1:] if "sure_until_ms" in pause]
            self.unheard |= set(range(min([disk.at, *((time_ms - T) // TICK_MS for time_ms in doubted_ms)]), self.now))
        self.kept = set(disk.kept)
        self.assured = {"audio": set(), "transcript": set(), **copy.deepcopy(disk.assured)}
        self.links.clear()
        if disk.manifest is None:
            self.timeline = Timeline(T)
            self.kept.clear()
        else:
            self.timeline = resume_timeline(manifest_from_json(disk.manifest), self.newest_ms(("audio",)))
        self.timeline.interrupted("daemon_restart", ["audio", "transcript"])
        disk.revision = -1

    @rule()
    def stopped_and_started_again(self) -> None:
        for name in list(self.links):
            self.lose(name, "daemon_restart")
        self.flush()
        self.disk.manifest = self.manifest("recovering", None)
        self.killed_and_started_again()

    # What must hold

    def manifest(self, state: str, ended_ms: int | None) -> dict[str, Any]:
        times = {"started_ms": T, "ended_ms": ended_ms, **self.timeline.to_manifest()}
        whole = to_json(new_manifest(rtms_stream_id="x", state=state, **times))
        restored: dict[str, Any] = json.loads(json.dumps(whole))
        return restored

    @invariant()
    def the_watch_time_is_up_to_date(self) -> None:
        assert self.timeline.audio_watch_ms == self.timeline.watch_ms("audio")

    @invariant()
    def no_gap_is_listed_twice(self) -> None:
        gaps = self.timeline.listed()[0]
        assert all(T <= gap.from_ms <= ms(self.now) for gap in gaps), gaps
        assert {gap.cause for gap in gaps} <= {*CAUSES, "daemon_restart", "dropped", "refused"}
        for number, gap in enumerate(gaps):
            for other in gaps[number + 1 :]:
                rivals = gap.media == other.media and (
                    gap.user_id == other.user_id or None in {gap.user_id, other.user_id}
                )
                assert not (rivals and gap.from_ms < other.to_ms and other.from_ms < gap.to_ms), (gap, other)

    def end(self) -> int:
        """Zoom ends the stream."""
        if self.is_up(self.audio):
            self.deliver()
        closing = []
        names = [name for name in self.media if self.is_up(name)]
        if self.closes_first and self.is_up("signaling"):
            for name in names:
                closing.append(self.links[name].number)
                self.lose(name, "media_reconnect")
        self.look()
        time_ms, newest_ms = ms(self.now) if self.with_time else None, self.newest_ms(("audio",))
        return self.timeline.ended(time_ms, newest_ms, closing, is_zooms=self.is_zooms)

    def was_dead_too_long(self, link: Link) -> bool:
        """Whether the end, of which Zoom says when it was, must show that a connection had died before."""
        life = link.opened if link.life is None else link.life
        return self.with_time and self.now - life > SILENT + 1

    def teardown(self) -> None:
        if not hasattr(self, "timeline"):
            return
        dead = [
            link for link in self.links.values() if link.dead_since is not None and not self.was_dead_too_long(link)
        ]
        ended_ms = self.end()
        end = self.manifest("ended", ended_ms)
        assert not list(verify_manifest(end))
        assert all(T <= gap["from_ms"] <= gap["to_ms"] <= ended_ms <= ms(self.now) for gap in end["gaps"]), end["gaps"]
        listed: dict[tuple[str, Any], set[int]] = {}
        for gap in end["gaps"]:
            ticks = range(math.ceil((gap["from_ms"] - T) / TICK_MS), (gap["to_ms"] - T) // TICK_MS)
            listed.setdefault((gap["media"], gap["user_id"]), set()).update(ticks)
        kept = {tick for _, tick in self.kept}
        for media in self.known:
            everybodys = listed.get((media, None), set())
            unnoticed = (link.dead_since or 0 for link in dead if not link.media or media in link.media)
            may = set(range(min(unnoticed, default=self.now), self.now)) | self.unheard
            last = (ended_ms - T) // TICK_MS
            must = {tick for tick in self.down[media] if tick < last} - self.paused - may
            if media == "audio":
                must -= kept
                for user_id in USERS:
                    own = listed.get((media, user_id), set())
                    mine = {tick for user, tick in self.kept if user == user_id}
                    lost = {tick for user, tick in self.spoken if user == user_id and tick < last} - mine - may
                    assert lost <= everybodys | own, f"{user_id}: unexplained {sorted(lost - everybodys - own)}"
                    assert not mine & (everybodys | own), f"{user_id}: pretended {sorted(mine & (everybodys | own))}"
            assert must <= everybodys, f"{media}: unexplained {sorted(must - everybodys)}"
            assert not self.assured[media] & everybodys, f"{media}: pretended {self.assured[media] & everybodys}"


TestWorld = World.TestCase
TestWorld.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
