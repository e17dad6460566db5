"""python -m attndyn.cli is the command attndyn."""

import sys

from . import main

sys.exit(main())
