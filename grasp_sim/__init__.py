"""The scene as a physics world, and the search for grasps in it."""
