"""`python -m invgraphics`: the same as the command `invgraphics`."""

import sys

from invgraphics.cli import main

sys.exit(main())
