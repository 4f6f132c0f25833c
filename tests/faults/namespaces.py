"""Machines with cables: a network namespace for each, joined by bridges of this machine, which simulates Zoom.

A member's machine has a cable to Zoom and one to the engine, a server's one to its clients and one to the other
servers. A cable that is pulled loses what is sent; nobody is told.
"""

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final

import attrs
import trio

from rtmsd.demo.cluster.servers import Server, Servers
from rtmsd.simulator.model.record import Peer
from tests.faults.cluster import NODES, ClusterStage, make_member, zoom_of
from tests.faults.process import Gate

ZOOM: Final = "z"  # from here to the members
ENGINE: Final = "e"  # from the members to the servers
ROUTES: Final = "r"  # between the servers
NETWORKS: Final = (ZOOM, ENGINE, ROUTES)
SERVERS: Final = 3
PORTS: Final = (4222, 6222, 8222)  # nobody else has any in a namespace
_MACHINES: Final[Mapping[str, Sequence[str]]] = {
    **dict.fromkeys(NODES, (ZOOM, ENGINE)),
    **{f"s{number + 1}": (ENGINE, ROUTES) for number in range(SERVERS)},
}
_RANGE: Final = IPv4Address("198.18.0.0")  # for tests of networks, by RFC 2544
_BLOCK: Final = 64  # addresses of one process that makes networks, and blocks of 16 for each network
_BLOCKS: Final = 2048


class NoNamespacesError(Exception):
    """This machine has no network namespaces, or not for us."""


@attrs.frozen
class Cables:
    """All machines, and their cables.

    Attributes:
        prefix: of names that others on this machine see.
        first: address of this process's block.
    """

    prefix: str
    first: IPv4Address

    def address(self, network: str, machine: str = "") -> str:
        """Return the address of a machine in a network, or of this one."""
        place = [*_MACHINES].index(machine) + 2 if machine else 1
        return str(self.first + 16 * NETWORKS.index(network) + place)

    def within(self, machine: str) -> Sequence[str]:
        """Return the command that runs another one on a machine."""
        return ("nsenter", f"--net=/run/netns/{self.prefix}{machine}")

    def pull(self, machine: str, *networks: str) -> None:
        """Cut a machine off from these networks."""
        self._set(machine, networks, "down")

    def plug(self, machine: str, *networks: str) -> None:
        self._set(machine, networks, "up")

    def _set(self, machine: str, networks: Sequence[str], state: str) -> None:
        _ip(*(f"link set {self.prefix}{network}{machine} {state}" for network in networks))

    def lay(self) -> None:
        """Make machines and cables."""
        for network in NETWORKS:
            bridge = f"{self.prefix}{network}"
            own = f"addr add {self.address(network)}/28 dev {bridge}"
            _ip(f"link add {bridge} type bridge", own, f"link set {bridge} up")
        for machine, networks in _MACHINES.items():
            namespace = f"{self.prefix}{machine}"
            _ip(f"netns add {namespace}")
            _ip("link set lo up", namespace=namespace)
            for network in networks:
                cable = f"{self.prefix}{network}{machine}"
                _ip(
                    f"link add {cable} type veth peer name {network} netns {namespace}",
                    f"link set {cable} master {self.prefix}{network}",
                    f"link set {cable} up",
                )
                own = f"addr add {self.address(network, machine)}/28 dev {network}"
                _ip(own, f"link set {network} up", namespace=namespace)

    def remove(self) -> None:
        """Remove whatever there is of them."""
        cables = [f"{network}{machine}" for machine, networks in _MACHINES.items() for network in networks]
        _remove(
            [f"{self.prefix}{link}" for link in (*cables, *NETWORKS)], [f"{self.prefix}{each}" for each in _MACHINES]
        )


def _ip(*commands: str, namespace: str | None = None) -> None:
    where = [] if namespace is None else ["-netns", namespace]
    subprocess.run(["ip", *where, "-batch", "-"], input="\n".join(commands), text=True, check=True)


def _remove(links: Sequence[str], namespaces: Sequence[str]) -> None:
    commands = [*(f"link del {link}" for link in links), *(f"netns del {namespace}" for namespace in namespaces)]
    subprocess.run(
        ["ip", "-force", "-batch", "-"], input="\n".join(commands), text=True, capture_output=True, check=False
    )


def _missing(prefix: str) -> str:
    """Return what keeps networks from being made here, "" if nothing does."""
    if programs := [program for program in ("ip", "nsenter") if shutil.which(program) is None]:
        return f"{' and '.join(programs)} not installed"
    try:
        _ip(
            f"link add {prefix}b type bridge",
            f"netns add {prefix}",
            f"link add {prefix}v type veth peer name {prefix}w",
        )
    except subprocess.CalledProcessError:
        return "bridges, cables and namespaces cannot be made: not root, or not supported"
    finally:
        _remove([f"{prefix}b", f"{prefix}v"], [prefix])
    return ""


@contextmanager
def laid_cables() -> Iterator[Cables]:
    """Yield machines that are connected; at the exit they are gone.

    Raises:
        NoNamespacesError: this machine has no network namespaces, or not for us.
    """
    cables = Cables(f"r{os.getpid()}", _RANGE + os.getpid() % _BLOCKS * _BLOCK)
    if missing := _missing(cables.prefix):
        raise NoNamespacesError(missing)
    try:
        cables.lay()
        yield cables
    finally:
        cables.remove()


@attrs.frozen
class CabledStage(ClusterStage):
    """A cluster on machines whose cables can be pulled."""

    cables: Cables

    def node_of(self, peer: Peer) -> str | None:
        """Return the member at that end of a connection: its process is in a network that Zoom cannot look into."""
        return next((node for node, member in self.members.items() if member.gate.host == peer.host), None)


@asynccontextmanager
async def open_cabled_cluster(place: Path, cables: Cables, **settings: Any) -> AsyncIterator[CabledStage]:
    """Yield a cluster of which each member and each server is on a machine of its own. See `open_cluster`."""
    (place / "nats").mkdir()
    nats = Servers([_server(place / "nats", number, cables) for number in range(1, SERVERS + 1)])
    try:
        async with trio.open_nursery() as nursery:
            members = {}
            for node in NODES:
                gate = Gate(cables.address(ZOOM, node))
                members[node] = member = await make_member(place, node, nats, nursery, gate)
                member.within = cables.within(node)
                member.sections["zoom"]["allowed_hosts"] = [cables.address(ZOOM)]
                member.sections["cluster"] = {**member.sections["cluster"], "allow_plain": True}
            async with zoom_of(members, nats, host=cables.address(ZOOM), **settings) as zoom:
                yield CabledStage(place, zoom, members, nats, cables)
            nursery.cancel_scope.cancel()
    finally:
        nats.kill()


def _server(directory: Path, number: int, cables: Cables) -> Server:
    machine = f"s{number}"
    routes = [f"{cables.address(ROUTES, f's{each + 1}')}:{PORTS[1]}" for each in range(SERVERS)]
    return Server(
        number,
        directory,
        PORTS,
        routes,
        host=cables.address(ENGINE, machine),
        within=cables.within(machine),
    )
