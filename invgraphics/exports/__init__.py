"""A reconstructed scene in the formats of other programs: mesh files, USD, simulators' worlds, grasps for a robot's program.

Nothing here computes physics: convex pieces and masses come in as `RigidBody`, from whoever knows them (`invgraphics.commands.export`).
"""
