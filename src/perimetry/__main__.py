"""`python -m perimetry` is the command `perimetry`."""

import sys

from perimetry.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
