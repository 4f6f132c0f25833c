"""rtmsd that writes a lost state file anew after 1 s instead of 10: `python -m tests.faults.impatient run ...`."""

import sys

from rtmsd.cli import main
from rtmsd.state import journal

vars(journal)["WRITE_ANEW_AFTER_S"] = 1.0
sys.exit(main(sys.argv[1:]))
