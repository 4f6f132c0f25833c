"""`python -m rtmsd.ctl`: the same as rtmsctl."""

import sys

from rtmsd.ctl.main import main

sys.exit(main())
