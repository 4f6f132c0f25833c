"""`python -m rtmsd` is `rtmsd`."""

import sys

from rtmsd.cli import main

sys.exit(main())
