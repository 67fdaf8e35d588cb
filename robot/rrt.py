"""A way around obstacles in joint space: RRT-Connect (Kuffner and LaValle 2000), then shortcuts."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

_STEP = 0.4
"""Longest edge of a tree, radians (Euclidean over the joints)."""
_MARGIN = 1.0
"""How far outside the box spanned by start and goal it looks, radians."""


def connect(
    q_start: Float[np.ndarray, "n"],
    q_goal: Float[np.ndarray, "n"],
    lower: Float[np.ndarray, "n"],
    upper: Float[np.ndarray, "n"],
    line_is_free: Callable[[np.ndarray, np.ndarray], bool],
    generator: np.random.Generator,
    *,
    max_iterations: int,
) -> list[np.ndarray] | None:
    """Corners of a path of free straight lines from start to goal; None where none was found in `max_iterations`.

    Two trees grow towards random samples and each other. Samples come from the box spanned by start and goal, widened, within the limits.
    """
    low = np.maximum(np.minimum(q_start, q_goal) - _MARGIN, lower)
    high = np.minimum(np.maximum(q_start, q_goal) + _MARGIN, upper)
    growing, other = _Tree(q_start), _Tree(q_goal)
    for _ in range(max_iterations):
        reached = growing.extend(generator.uniform(low, high), line_is_free)
        if reached is not None and other.grow_to(growing.nodes[reached], line_is_free):
            first, second = growing.branch(reached), other.branch(len(other.nodes) - 1)
            path = first[::-1] + second[1:]
            forward = path if np.array_equal(path[0], q_start) else path[::-1]
            return _shortcut(forward, line_is_free, generator)
        growing, other = other, growing
    return None


class _Tree:
    """Configurations, each reached by a free line from its parent."""

    def __init__(self, root: np.ndarray):
        self.nodes = [root]
        self.parents = [-1]

    def extend(self, target: np.ndarray, line_is_free: Callable[[np.ndarray, np.ndarray], bool]) -> int | None:
        """One step from the nearest node towards the target; the new node's index, None where the step is blocked."""
        nearest = int(np.argmin(np.linalg.norm(np.array(self.nodes) - target, axis=1)))
        offset = target - self.nodes[nearest]
        distance = float(np.linalg.norm(offset))
        new = target if distance <= _STEP else self.nodes[nearest] + offset * (_STEP / distance)
        if not line_is_free(self.nodes[nearest], new):
            return None
        self.nodes.append(new)
        self.parents.append(nearest)
        return len(self.nodes) - 1

    def grow_to(self, target: np.ndarray, line_is_free: Callable[[np.ndarray, np.ndarray], bool]) -> bool:
        """Steps towards the target until it is reached (its node is then the last) or the way is blocked."""
        while (reached := self.extend(target, line_is_free)) is not None:
            if np.array_equal(self.nodes[reached], target):
                return True
        return False

    def branch(self, index: int) -> list[np.ndarray]:
        """From a node to the root."""
        nodes = []
        while index >= 0:
            nodes.append(self.nodes[index])
            index = self.parents[index]
        return nodes


def _shortcut(
    path: list[np.ndarray], line_is_free: Callable[[np.ndarray, np.ndarray], bool], generator: np.random.Generator, attempts: int = 60
) -> list[np.ndarray]:
    """The path without corners that a free straight line makes needless."""
    path = list(path)
    for _ in range(attempts):
        if len(path) <= 2:
            break
        first, last = sorted(generator.choice(len(path), size=2, replace=False))
        if last - first > 1 and line_is_free(path[first], path[last]):
            path = path[: first + 1] + path[last:]
    return path
