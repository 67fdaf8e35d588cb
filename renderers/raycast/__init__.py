"""Analytic ray casting of ellipsoids and the support plane: the renderer of stage one."""
