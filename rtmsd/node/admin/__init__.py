"""What people see of all members, from any of them, and have them do.

`control` answers for all: it asks the others (`questions`) for half a second, and names who did not answer. `answering`
answers for one. `view` is the cluster as a member sees it, `listing` its streams, `draining` the order to hand them over.
"""
