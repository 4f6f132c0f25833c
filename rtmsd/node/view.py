"""What a member sees of its cluster: the others, the engine, and what is wrong."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final, Protocol

import attrs
import trio

from rtmsd.admin.messages import JsonObject
from rtmsd.cluster.engines.survey import Survey
from rtmsd.cluster.life.heart import Heart, Sighting
from rtmsd.cluster.liveness import Change
from rtmsd.cluster.parts.outstanding import Outstanding
from rtmsd.cluster.records import Beat, MemberState
from rtmsd.daemon.doctor import Finding, without_hints
from rtmsd.daemon.health import Trouble, TroubleCode

SURVEY_S: Final = 1.0
SILENT_BEATS: Final = 2  # not heard for longer than this: about to be gone
GONE_COUNTS_S: Final = 86_400.0  # a member that is gone for longer is no news
GONE: Final = "gone"
SILENT: Final = "silent"
SPOOL_FULL_SHARE: Final = 0.9
NAMED: Final = 5  # streams in a trouble


class Server(Protocol):
    """A server, as it describes itself."""

    @property
    def address(self) -> str: ...
    @property
    def version(self) -> str: ...


class Engine(Protocol):
    """What is seen of an engine: the `NatsEngine`."""

    @property
    def trouble(self) -> str | None: ...
    @property
    def server(self) -> Server | None: ...
    @property
    def denied(self) -> tuple[str, ...]: ...
    @property
    def unreadable(self) -> Mapping[str, int]: ...

    async def survey(self, timeout_s: float) -> Survey: ...


class Spool(Protocol):
    """Log lines that wait for the engine."""

    @property
    def waiting_bytes(self) -> int: ...
    @property
    def limit_bytes(self) -> int: ...


@attrs.frozen(kw_only=True)
class View:
    """What there is to see.

    Attributes:
        describe: returns this member's own beat.
        engine: returns it; None: it is not open.
        spool: None: no lines are kept.
        outstanding: what is not done for a while.
    """

    heart: Heart
    describe: Callable[[], Beat]
    engine: Callable[[], Engine | None]
    beat_s: float
    outstanding: Outstanding
    spool: Spool | None = None

    # Members

    def members(self) -> list[JsonObject]:
        """Return this member and all that were heard, by name; the gone of the last day among them."""
        me, now_s = self.describe(), trio.current_time()
        found = {me.node: _described(me, str(me.state), 0.0)}
        for node, sighting in self.heart.sightings.items():
            ago_s = now_s - sighting.at_s
            if node != me.node and (sighting.fate is Change.APPEARED or ago_s < GONE_COUNTS_S):
                found[node] = _described(sighting.beat, self._state(sighting, ago_s), ago_s)
        return [found[node] for node in sorted(found)]

    def _state(self, sighting: Sighting, ago_s: float) -> str:
        if sighting.fate is not Change.APPEARED:
            return GONE
        return SILENT if ago_s > SILENT_BEATS * self.beat_s else str(sighting.beat.state)

    # Troubles

    def troubles(self) -> Iterator[Trouble]:
        """Yield what is wrong here and now. See `Health.others`."""
        if (away := self._away()) is not None:
            yield Trouble(TroubleCode.ENGINE_AWAY, away)
        elif self.heart.has_listened.is_set() and self.heart.is_alone:
            yield Trouble(TroubleCode.ALONE, "no other member is heard: nobody would take over")
        if denied := self._denied:
            yield Trouble(TroubleCode.PERMISSION_MISSING, "; ".join(denied))
        if self.heart.namesake is not None:
            yield Trouble(TroubleCode.NAMESAKE, f"another process is called {self.describe().node}, too")
        if self.spool is not None and self.spool.waiting_bytes > SPOOL_FULL_SHARE * self.spool.limit_bytes:
            waiting = f"{self.spool.waiting_bytes} of {self.spool.limit_bytes} bytes"
            yield Trouble(TroubleCode.SPOOL_FULL, f"{waiting} of log lines wait for the engine; then the oldest go")
        if ungathered := self.outstanding.ungathered:
            yield Trouble(TroubleCode.UNGATHERED, f"{len(ungathered)} not joined yet: {_first(ungathered)}")
        if unconfirmed := self.outstanding.unconfirmed:
            whose = sorted({node for nodes in unconfirmed.values() for node in nodes})
            streams = f"{len(unconfirmed)} revoked ({_first(sorted(unconfirmed))})"
            yield Trouble(TroubleCode.UNCONFIRMED_REVOCATION, f"{streams}, not yet deleted by {', '.join(whose)}")
        if off_s := self.heart.clocks.off_s:
            clocks = ", ".join(f"{node} by {seconds:+.0f} s" for node, seconds in sorted(off_s.items()))
            yield Trouble(TroubleCode.CLOCK, f"clocks differ from this one: {clocks}")

    def _away(self) -> str | None:
        engine = self.engine()
        return "not connected to a server yet" if engine is None else engine.trouble

    @property
    def _denied(self) -> tuple[str, ...]:
        engine = self.engine()
        return () if engine is None else engine.denied

    @property
    def is_engine_up(self) -> bool:
        return self._away() is None

    # The engine

    @property
    def unreadable(self) -> Mapping[str, int]:
        """What came from the engine and could not be read, by kind, since it was opened."""
        engine = self.engine()
        return {} if engine is None else engine.unreadable

    async def survey(self) -> Survey:
        """Look at the engine's servers, if it is there. Nothing found: it is not."""
        engine = self.engine()
        return Survey() if engine is None or engine.trouble is not None else await engine.survey(SURVEY_S)

    def engine_json(self, survey: Survey) -> JsonObject:
        """The engine, as status has it."""
        engine = self.engine()
        server = None if engine is None else engine.server
        return {
            "trouble": self._away(),
            "server": None if server is None else {"address": server.address, "version": server.version},
            "denied": list(self._denied),
            "servers": survey.servers,
            "leaders": dict(survey.leaders),
            "behind": [
                {"stream": store.name, "server": copy.server, "lag": copy.lag, "offline": copy.is_offline}
                for store, copy in survey.behind()
            ],
            "bytes": survey.bytes if survey.stores else None,
        }

    def wrong(self, members: list[JsonObject], survey: Survey) -> Iterator[JsonObject]:
        """Yield what is wrong with the cluster as a whole; members have troubles of their own."""
        for member in members:
            ago = f"not heard for {member['last_beat_s']:.0f} s"
            if member["state"] == GONE and not member["is_drained"]:
                yield wrong("member_gone", ago, member["node"])
            elif member["state"] == SILENT and self.is_engine_up:  # else nobody is heard
                yield wrong("member_silent", ago, member["node"])
        if copies := _copies(survey):
            yield wrong("engine_behind", copies)

    def findings(self, survey: Survey) -> list[Finding]:
        """Findings of the doctor."""
        engine = self.engine()
        server = None if engine is None else engine.server
        where = "" if server is None else f"connected to {server.address}, version {server.version}"
        away, denied, copies = self._away(), self._denied, _copies(survey)
        return without_hints(
            [
                Finding(
                    "engine",
                    away is None,
                    "; ".join(part for part in (away, where) if part),
                    "Start the servers, and compare cluster.servers, ca_file, user and password with them.",
                ),
                Finding(
                    "permissions",
                    not denied if away is None or denied else None,
                    "; ".join(denied) or "none turned out to be missing",
                    "Grant them to this member's user (systemd/nats-server.conf has all), and restart its server.",
                ),
                Finding(
                    "replicas",
                    not copies if away is None else None,
                    copies or ("all are up to date" if away is None else "the engine does not answer"),
                    "Look at the servers that are named: they are down, or have just come back.",
                ),
                Finding(
                    "members",
                    None if away is not None else not self.heart.is_alone and self.heart.namesake is None,
                    f"{', '.join(member['node'] for member in self.members() if member['state'] != GONE)} heard",
                    "Start the others, with the same cluster.name and a cluster.node of their own each.",
                ),
            ]
        )


def wrong(code: str, detail: str, node: str | None = None) -> JsonObject:
    """One thing that is wrong, of a member or of all."""
    return {"code": code, "detail": detail, "node": node}


def _described(beat: Beat, state: str, ago_s: float) -> dict[str, object]:
    return {
        "node": beat.node,
        "state": state,
        "streams": beat.streams,
        "capacity": beat.capacity,
        "release": beat.release,
        "zone": beat.zone,
        "last_beat_s": round(ago_s, 1),
        "webhook_ms": beat.webhook_ms,
        "is_drained": beat.state is MemberState.DRAINING,
    }


def _copies(survey: Survey) -> str:
    """Return what is wrong with the copies of what is kept, in words."""
    found = {f"{copy.server} is {'offline' if copy.is_offline else 'behind'}" for _, copy in survey.behind()}
    found |= {f"{store.name} has {len(store.replicas) + 1} of {store.wanted} copies" for store in survey.short()}
    found |= {f"{name} does not answer" for name in survey.silent}
    return _first(sorted(found))


def _first(names: list[str]) -> str:
    more = f", and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
