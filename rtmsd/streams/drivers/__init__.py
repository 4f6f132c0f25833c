"""The drivers: they carry out what the core decides for one stream, and report what happens. They decide nothing.

`Stream` has the nursery. `SignalingDriver` and `MediaDriver` hold at most one socket each: `Connect` and `OpenMedia`
start a task for it, and however that task ends, its last act is an input to the core. `RecordingDriver` writes down
what happened. All inputs are synchronous, so that each is carried out whole before the next one comes.
"""
