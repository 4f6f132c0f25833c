"""The environment of all tests: the terminal of whoever runs them has no say in what rtmsctl prints."""

import os

for _name in ("COLUMNS", "LINES"):
    os.environ.pop(_name, None)
