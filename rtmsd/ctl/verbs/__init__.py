"""The verbs, a module for each group; `rtmsd.ctl.cli` has their names and arguments."""
