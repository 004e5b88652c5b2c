"""`python -m throughtime`: the command line without an installed script."""

import sys

from throughtime.cli import main

if __name__ == "__main__":
    sys.exit(main())
