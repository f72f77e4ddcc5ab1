"""The extensions are top-level modules, as they are beside run.py."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
