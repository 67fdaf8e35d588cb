"""How long things take. Run them from the repository's root: `make bench`."""

import invgraphics  # noqa: F401 (before torch: it sets how threads wait)
