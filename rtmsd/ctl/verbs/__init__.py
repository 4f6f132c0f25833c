"""What the verbs do, a module for each group of them; `rtmsd.ctl.cli` has their names and arguments."""
