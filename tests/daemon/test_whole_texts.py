"""Chat and revised transcripts: from the simulator over the whole daemon to what people read."""

import re
from pathlib import Path
from typing import Final

import pysubs2

from rtmsd.config import MediaConfig
from rtmsd.export.exporters import find
from rtmsd.export.report import Report
from rtmsd.export.request import Request
from rtmsd.export.source import Source
from rtmsd.recording.verify.verify import verify
from rtmsd.simulator import built_in
from tests.daemon.whole import (
    assert_all_of_it_once,
    assert_well_behaved,
    directory_of,
    lines,
    play_whole,
    until_ended,
    zoom_and_daemon,
)

CHAT: Final = """\
[edited] Ana: Good morning, here are the new figures
  file: figures.pdf (11.0 kB)
  reactions: 👍 1
    [] Bo: Thank you!
      reactions: ❤ 1
    [edited] Cleo: I cannot open the file
[] Ana to Cleo: Try it now
[] Bo: [deleted]
[] Ana to the group finance: Bo,
  | shall we meet at two?
    [] Bo to the group finance: Yes
"""


def exported(directory: Path, form: str) -> str:
    source = Source(directory)
    report = Report(source)
    find(form)(source, Request(format=form), report)
    assert source.problems == []
    return Path(report.files[0]["path"]).read_text()


async def test_a_chat_in_every_shape_is_kept_and_read_as_it_stood(tmp_path: Path) -> None:
    media = MediaConfig(types=("audio", "chat"))
    async with zoom_and_daemon(tmp_path, media=media) as (sim, backend):
        session = await play_whole(sim, "chat")
        manifest = await until_ended(backend, session.rtms_stream_id)
        directory = directory_of(backend, session.rtms_stream_id)
        assert_well_behaved(session.record)
        assert_all_of_it_once(session.record, directory)
    steps = [step for step in built_in()["chat"].steps if "chat" in step.action or step.action == "react"]
    done = [step for step in steps if step.action != "chat_group"]
    written = lines(directory / "chat.jsonl")
    assert len(written) == len(done) == session.record.summary()["chats"]
    names = {person["user_id"]: person["user_name"] for person in manifest["participants"]}
    assert [(names[line["user_id"]], line["message_id"]) for line in written] == [
        (step.arguments["who"], step.arguments["message_id"]) for step in done
    ]
    assert {line["details"] for line in written} == {None}
    assert {line["operation"] for line in written} == {"new", "update", "delete", "add_reaction", "remove_reaction"}
    assert {line["session_type"] for line in written} == {"everyone", "individual", "chat_group"}
    assert [line["receiver"]["user_name"] for line in written if line["receiver"]] == ["Cleo"]
    kinds = [line["kind"] for line in lines(directory / "events.jsonl")]
    assert {"chat_group_create", "chat_group_members_add"} <= set(kinds)
    assert manifest["counters"]["corrupt"] == 0
    shown = exported(directory, "chat")
    assert re.sub(r"\[\d:\d\d:\d\d(?:, )?", "[", shown) == CHAT
    assert verify(directory) == []


async def test_revised_transcripts_are_read_as_they_were_corrected(tmp_path: Path) -> None:
    async with zoom_and_daemon(tmp_path) as (sim, backend):
        session = await play_whole(sim, "transcript-revisions")
        await until_ended(backend, session.rtms_stream_id)
        directory = directory_of(backend, session.rtms_stream_id)
        assert_all_of_it_once(session.record, directory)
    assert {line["language_tag"] for line in lines(directory / "transcript.jsonl")} == {"en"}
    said = [event.plaintext for event in pysubs2.SSAFile.from_string(exported(directory, "srt"), format_="srt")]
    spoken = {"Ana: Good morning, Bo", "Bo: Hello Ana", "Bo: Shall we begin?"}
    assert spoken <= set(said)
    assert not any(wrong in text for text in said for wrong in ("mourning", "Anna", "noise", "cough"))
    assert exported(directory, "vtt") == (directory / "transcript.vtt").read_text()
