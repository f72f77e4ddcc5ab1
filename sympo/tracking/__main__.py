"""`python -m sympo.tracking sync [RESULTS]` uploads offline runs."""

import sys

from sympo.tracking.sync import main

sys.exit(main(sys.argv[1:]))
