"""``python -m fne`` is the command line."""

import sys

from fne.cli import main

sys.exit(main())
