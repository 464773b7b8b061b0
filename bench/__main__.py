"""`python bench` does what `python bench/run.py` does."""

import sys

from run import main

sys.exit(main())
