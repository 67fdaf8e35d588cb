"""The arm, the hand and the camera: drivers, kinematics, motion, and the grasp as a guarded sequence."""
