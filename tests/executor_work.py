"""Work for executors, in a module that their processes can import."""

import os


def measure_length(item: str, base: int, parent: int) -> tuple[str, int]:
    """The item and a number; kills any process but the parent over the item "deadly"."""
    if item == "deadly" and os.getpid() != parent:
        os._exit(1)
    return item, base + len(item)
