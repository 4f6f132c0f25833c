"""Several rtmsd processes that are one: on the cores of a machine, or on several machines.

A *member* is one rtmsd process, an *incarnation* one life of it. The *owner* of a stream is the member that may connect
to it at Zoom; its time as owner is a *tenure*, numbered by *epoch*, and proved by a *token*. What one member has
recorded of a stream is its *part*. A *beat* is a member's sign of life.
"""
