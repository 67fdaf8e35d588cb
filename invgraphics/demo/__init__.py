"""The demo: a simulated table, one photograph of it, and everything that follows from the photograph."""
