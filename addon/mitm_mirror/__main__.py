"""`python -m mitm_mirror`: the console command."""

import sys

from mitm_mirror.cli import main

sys.exit(main())
