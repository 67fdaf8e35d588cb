"""Scene + Camera -> colour, depth, object ids, coverage, normals: one protocol, interchangeable backends."""
