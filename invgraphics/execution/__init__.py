"""From a reconstructed scene with grasps to the arm: set up, plan, check, rehearse, carry out, replay."""
