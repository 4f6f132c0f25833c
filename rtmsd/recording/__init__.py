"""Recordings: the files of a stream, placed by Zoom's time, safe against crashes, every gap explained.

Theory of operation

A byte of audio takes this way. The driver of a media connection hands each read's messages to `decode_batch`, which
calls `MediaIntake.audio`. That looks up the participant's `Track` and calls `Track.append`: a packet that continues its
file is put into the queue of its `DiskFile`, and that is all. Any other packet goes to `AudioStore.take`, which opens
files and asks the track to place it: it fills a hole, leaves one, is a repeat, or is lost, and then its time is a gap.
Up to here everything is synchronous in the Trio thread: nothing waits, nothing raises for content, no file is open.

A `Writer`, one for each directory of recordings, has a turn at least once in each `sync_interval_s`. Each `Flusher`
gives it a `Job`:
what its files have queued and, when something changed that must be known at once or the counters are 5 s old, the
manifest. One call in a worker thread writes all jobs: data, then headers with the new lengths, then a sync of every
file, and only then the manifests, each replaced atomically. Files are open during a flush only. What a failing disk did
not take stays queued, and the next turn tries again. Other work on the disk (finding and reading a directory, sorting
captions, deleting) goes through `DiskRetrier` in threads of its own, as long as the disk fails.

Wings, lowest first; imports go downwards only:

    manifest   the format of `stream.json` and its entries; imports no other wing
    timeline   connections, pauses and gaps in Zoom's clock: what is missing, from when to when, and why. Pure
    disk       file buffers and their shared bound, the writer, the flush, retried work, names and calls on the disk
    media      one `MediaStore` for each media type; below it `wav`, tracks and placement, `ogg`, the same for Opus as
               it was sent, and `codecs`
    library    all recordings of a directory: catalog, retention, revocation
    recovery   what an earlier process left: read, planned to be repaired, and taken up
    verify     reads recordings back, with readers of its own
    gather     the parts of a stream that members of a cluster have recorded, joined to one recording
    top        `open_recorder` assembles one recording; `Recorder` takes in what happens to its stream, `EventLog`
               writes it down, `RecordingContents` knows it all and makes the manifest, `Flusher` brings it to disk

Who owns what. A `Recorder` belongs to its stream and is its only way in. The `Timeline` alone decides what is missing;
stores report what they kept or lost, drivers report connections. `FileMaker` owns the names of a stream's files, a
`DiskFile` what is queued for one of them, and `Backlog` the stream's share of `buffer_bytes`. The worker thread touches
only what a `Job` holds, and the inode of a file. `ChangeCounter` is shared by all that the manifest is made of.

What is promised, and when:

- What was received is on disk within `sync_interval_s`, if the disk is healthy: that much a kill or a power failure
  costs, and it becomes a gap (`daemon_restart`) when the stream is taken up again.
- A WAV is readable at any instant: its header counts only samples that are written. So is Ogg: a page ends at each
  sync, and players skip what is no whole page.
- A manifest never promises what is not synced: it goes last. What it promised and is gone is `damaged`, no accident.
- After a start, the manifest that takes up a recording is on disk before any new media are.
- Past the stream's share of the buffer, messages are dropped, counted, and made a gap (`dropped`): memory is bounded,
  and a stream that cannot write starves no other.
- For each media type, connections, pauses and gaps tile the time from the first handshake to the end: missing time
  without a cause is a bug.
- No sample strays more than 100 ms from its timestamp, and a packet that comes twice is in the file once.
- A bug in one recording costs that one; the writer goes on with the others.
- In a cluster a member that takes a stream over begins where its predecessor's part record says that it has come
  (`parts`): time before is `elsewhere`, which tiles like a gap and is none. A record says only what is on disk.

Adding a medium: a `MediaStore` in `media/`, and its row in `media/intake.py`; CONTRIBUTING lists what other packages
need for it. Adding a codec: a decoder in `media/codecs/`.
"""
