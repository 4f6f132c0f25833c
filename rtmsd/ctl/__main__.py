"""`python -m rtmsd.ctl` is rtmsctl."""

import sys

from rtmsd.ctl.main import main

sys.exit(main())
