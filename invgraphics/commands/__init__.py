"""The commands of the command line, a module each; see `invgraphics.cli` for what a module must have."""
