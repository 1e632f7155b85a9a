"""`python -m game.cli`, for a checkout that is not installed."""

import sys

from game.cli import main

sys.exit(main())
