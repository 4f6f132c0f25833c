"""What the verbs do, a module for each group of them; `rtmsd.ctl.grammar` has their names and arguments."""
