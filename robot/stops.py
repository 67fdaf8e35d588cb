"""Why a motion was stopped. Nothing moves again until a person has reset the device."""

from enum import Enum


class StopReason(Enum):
    """What stopped it; the value is for a person."""

    PROTECTIVE_STOP = "protective stop"
    EMERGENCY_STOP = "emergency stop"
    SAFEGUARD_STOP = "safeguard stop"
    SAFETY_FAULT = "the safety system reports a violation or a fault"
    NOT_RUNNING = "the arm is not powered and released"
    PROGRAM_STOPPED = "the program on the controller was stopped or paused"
    CONNECTION_LOST = "connection lost"
    STALE_STREAM = "no fresh state"
    BAD_DATA = "the state makes no sense"
    LAG = "the arm did not follow"
    OVERSPEED = "a joint turned faster than allowed"
    OUT_OF_LIMITS = "a joint left its range"
    FORCE = "too large a force"
    SETUP = "the controller is not set up as the plan assumes"
    COMMANDER_LOST = "the program that commands the arm hangs or has ended"
    BY_PERSON = "stopped by a person"
    HAND_SILENT = "the hand does not answer"
    HAND_FAULT = "the hand answers what makes no sense"
    CAMERA_SILENT = "the camera sends no frames"


HAND_REASONS = frozenset({StopReason.HAND_SILENT, StopReason.HAND_FAULT})
"""Those that are the hand's."""


class MotionStoppedError(Exception):
    """A motion was stopped, or was refused because of an earlier stop. The message says where, `reason` why."""

    def __init__(self, message: str, reason: StopReason = StopReason.LAG):
        super().__init__(message)
        self.reason = reason
