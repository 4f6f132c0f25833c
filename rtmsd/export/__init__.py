"""Exports: one file to send to somebody, made of a recording. Offline: no daemon is asked, and nothing here knows Trio.

Theory of operation

`rtmsctl recordings export X --format wav` takes this way. The verb (`ctl/verbs/export`) turns its arguments into a
`Request`, finds the row of the format in `exporters.EXPORTERS`, opens the recording as a `Source` and calls `run`,
which calls the exporter, a function of one signature for all formats:

    def export(source: Source, request: Request, report: Report) -> None

An exporter reads through the `Source`, writes through an `Output`, and describes to the `Report` what it did:

    def export(source: Source, request: Request, report: Report) -> None:
        span = request.span(source)
        with Output(source, request, report) as output, output.file("transcript.txt") as file:
            for number, line in enumerate(source.lines("transcript.jsonl", Line.UTTERANCE)):
                report.progress(number / 1000)
                ...

What the parts promise:

- `source`: the recording as it is on disk, read-only; no symbolic link in it is followed. A file that is damaged is
  named in `Source.problems` and left out, or used as far as it is whole: then the exit status is 1, and all the rest is
  exported. Of a live stream there is what is synced; `Source.end_ms` is up to when.
- `span`: `--from` and `--to`, as times.
- `output`: results appear whole or not at all. They are written beside their names, synced and renamed when the
  exporter is done; after any error, and after a signal, what was written is gone and earlier results are as they were.
- `report`: what was made, for people and as JSON. `Report.progress` is to be called at least once a second: there a
  revocation of the recording is noticed, which raises `RecordingRevoked`, and exits with 7.
- `extra`: `need("av")` imports what belongs to the extra `media`, or says how to install it. Nothing of it is imported
  at the top of a module.
- `errors`: each with an exit status and, where one helps, a hint.

Everything reads and writes in pieces: a recording of 8 hours takes no more memory than one of 1 hour.

Adding a format: a package here with its exporter, its row in `exporters.EXPORTERS`, and for a verb of its own a row in
`ctl/cli.VERBS` (its arguments are in `ctl/export_arguments`, its function is in `ctl/verbs/export`).
"""
