"""A program of the catalogue that never ends by itself."""

import sys
import time
from pathlib import Path

if __name__ == "__main__":
    out = Path(sys.argv[sys.argv.index("--out") + 1])
    out.mkdir(parents=True)
    try:
        (out / "started").touch()
        time.sleep(300)
    except KeyboardInterrupt:
        (out / "interrupted").touch()
        sys.exit(130)
