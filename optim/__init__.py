"""The staged optimizers: Observation -> Reconstruction."""
