"""The scene as a physics world, and the search for grasps in it."""

from invgraphics.compilation import announce_compilation

announce_compilation()
