"""Scene + Camera -> colour, depth, object ids, coverage, normals: one protocol, interchangeable backends."""

from invgraphics.compilation import announce_compilation

announce_compilation()
