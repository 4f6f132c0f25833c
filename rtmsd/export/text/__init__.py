"""Texts for people, made of `transcript.jsonl` and `chat.jsonl`: subtitles, a transcript to read, the chat.

The renderers are pure: `srt` and `txt` take utterances as `recording.media.captions.utterances` returns them, revised
and in order, so that all formats show the same; `chat` takes the lines of a chat, in any order. `exporters` connects
them to the recording and to the command line. Whatever a name or a text holds stays in its line and is no markup:
`plain` cleans it for all of them.
"""
