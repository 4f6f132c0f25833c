"""The words that rtmsctl explains of a cluster: its troubles, states of members, flags of streams."""

from collections.abc import Mapping
from typing import Final

from rtmsd.protocol.status_texts import Texts

CLUSTER_TROUBLES: Final[Mapping[str, Texts]] = {
    "slot_held": (
        "Another connection has a stream's slot at Zoom, longer than Zoom keeps a dead one: nothing is received here.",
        "Another process with the same app is connected: a second rtmsd, or one that hangs.",
        "Find that process and stop it: rtmsd tries every 1.5 s, and the stream does not end by it.",
    ),
    "engine_away": (
        "The cluster's servers do not answer this member: it records on, and takes over nothing.",
        "They are down or not reached, have full disks, refuse this member, or were set up for another configuration.",
        "Look at the servers (`rtmsctl doctor` says what they lack); rtmsd needs no restart.",
    ),
    "permission_missing": (
        "The cluster's servers deny this member's user something that it needs, perhaps only when a stream is revoked.",
        "The list of permissions of this user is shorter than the one in systemd/nats-server.conf.",
        "Grant what is named. Servers that reload keep their connections: restart the one of this member, or rtmsd.",
    ),
    "alone": (
        "No other member of the cluster is heard: nobody would take over.",
        "The others are down, or use another cluster.name or other servers.",
        "`rtmsctl cluster status` on each of them.",
    ),
    "namesake": (
        "Another process uses this member's name.",
        "Two machines have the same cluster.node, or one was copied. Who starts as the second stops by itself.",
        "Give each member a cluster.node of its own, and restart it.",
    ),
    "spool_full": (
        "Lines for the engine fill cluster.spool_bytes: the oldest go. They stay in this member's own files.",
        "The engine is away for long.",
        "Bring it back, or raise cluster.spool_bytes.",
    ),
    "ungathered": (
        "Several members have parts of a recording, and they are not joined yet.",
        'One of them was away at the end, or has no room; or `cluster.gather` is "manual".',
        "It is tried for 7 days, unless by hand; `rtmsctl recordings gather` tries it now, and joins copies.",
    ),
    "unconfirmed_revocation": (
        "A recording was revoked, and some member has not said that it has deleted its part.",
        "That member is away.",
        "Start it: it deletes the part first. If its disk is kept elsewhere, delete the part there.",
    ),
    "clock": (
        "The clock of another member differs by more than 30 s. No rule depends on it; logs are hard to compare.",
        "One of them is not synchronized.",
        "Set both by NTP (chrony, systemd-timesyncd).",
    ),
    "member_gone": (
        "A member of the cluster is dead, and was not drained.",
        "Its machine, process or network.",
        "Its streams are with the others; start it again, and its parts are gathered.",
    ),
    "member_silent": (
        "A member of the cluster was not heard for some beats.",
        "It hangs, is overloaded, or is about to be gone.",
        "Wait a few seconds; then see `member_gone`.",
    ),
    "no_answer": (
        "A member of the cluster is heard and does not answer questions.",
        "It ends or starts, is overloaded, or its user may not be asked (permissions).",
        "Ask again; then `rtmsctl doctor` there.",
    ),
    "engine_behind": (
        "A copy of what the engine keeps is missing, behind or without a leader.",
        "One of its servers is down, or has just come back.",
        "Look at that server; with two of three left nothing is lost.",
    ),
}

MEMBER_STATES: Final[Mapping[str, Texts]] = {
    "starting": ("The member claims what it had before, and takes no streams yet.", "It was just started.", "Wait."),
    "up": ("The member is heard, and takes streams.", "All is well.", "Nothing."),
    "draining": (
        "The member hands its streams over to the others, and takes none.",
        "`rtmsctl cluster drain`, `rtmsctl drain`, or it stops.",
        "`rtmsctl cluster undrain NODE` has it take streams again.",
    ),
    "silent": CLUSTER_TROUBLES["member_silent"],
    "gone": (
        "The member was not heard for cluster.dead_after_beats, or it left; the others have its streams.",
        "It was stopped, or its machine, process or network failed.",
        "Start it again: its parts of recordings are gathered.",
    ),
}
"""In `rtmsctl cluster status`."""

STREAM_FLAGS: Final[Mapping[str, Texts]] = {
    "orphan": (
        "The member that has the stream is gone, and no other has claimed it yet.",
        "It has just died; or no member has room, or reaches the engine.",
        "Wait a few seconds; then `rtmsctl cluster status`.",
    ),
    "unclaimed": (
        "The stream is recorded, and the engine does not know by whom.",
        "It began while the engine was away.",
        "Nothing: it is claimed when the engine is back (`explain engine_away`).",
    ),
}
"""In `rtmsctl cluster ps`; the others are troubles, too."""
