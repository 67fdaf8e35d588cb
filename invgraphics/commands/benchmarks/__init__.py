"""What `invgraphics benchmark WHAT` measures, a module for each."""
