"""Meshes, ellipsoids, cages, and distances between surfaces."""
