"""The hand's driver over a pseudo-terminal, against a stand-in that moves, meets things, and fails."""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from invgraphics.errors import InputError, MissingDependencyError
from robot.execute import Hand
from robot.mia_conversion import counts_from_radians, radians_from_counts
from robot.mia_hand import MiaHand, MiaSettings
from robot.mia_link import LinkLimits
from robot.mia_protocol import MOTORS
from robot.standins.mia import TICK, MiaFault, MiaStandIn
from robot.standins.mia_motors import BlockableMotors, Drive
from robot.stops import MotionStoppedError, StopReason

pytestmark = pytest.mark.realtime

LINK = LinkLimits(keep_alive_seconds=0.2, answer_seconds=0.8, stream_seconds=0.4, acknowledge_seconds=0.4)
SETTINGS = MiaSettings(percent=99, link=LINK)
CLOSED = {"j_mrl_fle": 1.2, "j_thumb_fle": 0.9, "j_index_fle": 1.2}


@pytest.fixture
def standin():
    with MiaStandIn() as standin:
        yield standin


@pytest.fixture
def hand(standin):
    with MiaHand(standin.port, SETTINGS) as hand:
        yield hand


def _wait_for(condition, seconds=2.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def _move_to_and_fro(hand):
    for target in (1.2, 0.3, 1.2, 0.3):
        hand.move_to({"j_mrl_fle": target, "j_thumb_fle": target / 2})


def test_motors_go_where_they_are_told(hand, standin):
    assert isinstance(hand, Hand)
    hand.move_to({"j_mrl_fle": 0.8, "j_index_fle": -0.5})
    assert hand.motor_positions() == pytest.approx({"j_thumb_fle": 0.0, "j_mrl_fle": 0.8, "j_index_fle": -0.5}, abs=0.02)
    truth = {motor: radians_from_counts(motor, counts) for motor, counts in standin.motor_counts().items()}
    assert hand.motor_positions() == pytest.approx(truth, abs=0.01)
    assert hand.joint_positions()["j_thumb_opp"] == pytest.approx(0.95238 * -0.5 - 0.0052884, abs=0.02)
    assert not standin.misunderstood


class PausingMotors(BlockableMotors):
    """On the way everything stands still once, as on a computer that has something else to do."""

    def __init__(self):
        super().__init__()
        self.paused = False

    def advance(self, seconds, drives):
        moved = super().advance(min(seconds, TICK), drives)
        if not self.paused and moved["j_mrl_fle"].counts > 20:
            self.paused = True
            time.sleep(0.3)
        return moved


def test_a_pause_of_everything_is_not_taken_for_standing_still():
    with MiaStandIn(PausingMotors()) as standin, MiaHand(standin.port, replace(SETTINGS, percent=10)) as hand:
        hand.move_to({"j_mrl_fle": 0.3})
        assert standin.plant.paused
        assert hand.motor_positions()["j_mrl_fle"] == pytest.approx(0.3, abs=0.02)


def test_an_object_in_the_way_is_felt(standin):
    standin.plant.block("j_mrl_fle", at=120)
    standin.plant.block("j_thumb_fle", at=100)
    with MiaHand(standin.port, SETTINGS) as hand:
        hand.move_to(CLOSED)
        grip = hand.detect_grasp(CLOSED)
        assert grip.holds
        assert set(grip.pressing) == {"j_mrl_fle", "j_thumb_fle"}
        assert grip.short == pytest.approx(
            {"j_mrl_fle": 1.2 - radians_from_counts("j_mrl_fle", 120), "j_thumb_fle": 0.9 - radians_from_counts("j_thumb_fle", 100)},
            abs=0.01,
        )
        assert grip.force["j_mrl_fle"] > 200 > 30 > grip.force["j_index_fle"]
        assert hand.currents()["j_thumb_fle"] > 300
        hand.move_to(CLOSED)
        hand.move_to(dict.fromkeys(MOTORS, 0.0))
        assert not hand.detect_grasp(dict.fromkeys(MOTORS, 0.0)).holds


def test_an_empty_hand_holds_nothing_and_a_thumb_alone_neither(standin):
    with MiaHand(standin.port, SETTINGS) as hand:
        hand.move_to(CLOSED)
        assert not hand.detect_grasp(CLOSED).holds
        assert hand.detect_grasp(CLOSED).short == {}
        hand.move_to(dict.fromkeys(MOTORS, 0.0))
        standin.plant.block("j_thumb_fle", at=90)
        hand.move_to(CLOSED)
        assert hand.detect_grasp(CLOSED).pressing == ("j_thumb_fle",)
        assert not hand.detect_grasp(CLOSED).holds


def test_a_thumb_that_came_to_its_target_holds_what_a_finger_presses_on_it(standin):
    short_of_it = counts_from_radians("j_thumb_fle", CLOSED["j_thumb_fle"]) - SETTINGS.stopped_short_counts + 2
    standin.plant.block("j_thumb_fle", at=short_of_it)
    with MiaHand(standin.port, SETTINGS) as hand:
        hand.move_to(CLOSED)
        assert hand.detect_grasp(CLOSED).pressing == ("j_thumb_fle",)
        assert not hand.detect_grasp(CLOSED).holds, "nothing else presses"
        hand.move_to(dict.fromkeys(MOTORS, 0.0))
        standin.plant.block("j_mrl_fle", at=120)
        hand.move_to(CLOSED)
        grip = hand.detect_grasp(CLOSED)
        assert set(grip.short) == {"j_mrl_fle"}
        assert grip.holds


def test_motors_that_press_on_their_open_end_hold_nothing(hand, standin):
    standin.inject(MiaFault.RUNAWAY)
    hand.move_to({"j_mrl_fle": 1.2, "j_thumb_fle": 0.9})
    assert hand.forces()["j_mrl_fle"] > 200
    grip = hand.detect_grasp({"j_mrl_fle": 1.2, "j_thumb_fle": 0.9})
    assert set(grip.short) == {"j_mrl_fle", "j_thumb_fle"}
    assert not grip.holds


def test_grasps_by_name_and_their_references(hand, standin):
    hand.set_grasp("pinch", {"j_thumb_fle": 0.1, "j_index_fle": 0.0}, {"j_thumb_fle": 0.5, "j_index_fle": -0.4})
    hand.close_grasp("pinch", 0.5)
    assert hand.motor_positions()["j_thumb_fle"] == pytest.approx(0.3, abs=0.02)
    hand.close_grasp("pinch")
    assert hand.motor_positions() == pytest.approx({"j_thumb_fle": 0.5, "j_mrl_fle": 0.0, "j_index_fle": -0.4}, abs=0.02)
    hand.open_grasp("pinch")
    assert hand.motor_positions()["j_thumb_fle"] == pytest.approx(0.1, abs=0.02)
    assert not standin.misunderstood


def test_a_grasp_that_does_not_say_where_a_motor_closes_is_refused(hand, standin):
    with pytest.raises(ValueError, match="rests with j_thumb_fle, j_index_fle, but closes with j_thumb_fle"):
        hand.set_grasp("pinch", {"j_thumb_fle": 0.1, "j_index_fle": 0.0}, {"j_thumb_fle": 0.5})
    assert not any(text[2] == "G" for _, text in standin.received)


def test_speeds_and_stop(hand, standin):
    hand.turn({"j_mrl_fle": 1.0})
    assert _wait_for(lambda: hand.motor_positions()["j_mrl_fle"] > 0.2)
    start, first = time.monotonic(), standin.motor_counts()["j_mrl_fle"]
    assert _wait_for(lambda: hand.motor_positions()["j_mrl_fle"] > 0.6)
    seconds = time.monotonic() - start
    speed = radians_from_counts("j_mrl_fle", standin.motor_counts()["j_mrl_fle"] - first) / seconds
    assert speed == pytest.approx(1.0, rel=0.35)
    stopped = time.monotonic()
    hand.stop()
    assert _wait_for(lambda: standin.stop_time(stopped) is not None)
    place = standin.motor_counts()["j_mrl_fle"]
    time.sleep(0.1)
    assert standin.motor_counts()["j_mrl_fle"] == pytest.approx(place)
    with pytest.raises(ValueError, match=r"at most 4\.60"):
        hand.turn({"j_mrl_fle": 5.0})


def test_where_one_of_several_speeds_is_too_fast_none_is_sent(hand, standin):
    since = time.monotonic()
    with pytest.raises(ValueError, match="j_mrl_fle cannot turn"):
        hand.turn({"j_thumb_fle": 0.3, "j_mrl_fle": 50.0})
    assert standin.motion_commands(since) == []


def test_all_motors_are_told_before_the_first_answer_is_waited_for(standin):
    """Else a finger would go on pressing on an object that the thumb has let go of already."""
    with MiaHand(standin.port, MiaSettings(percent=99).patient(1.5)) as hand:
        standin.inject(MiaFault.DELAYED, 0.6)
        since = time.monotonic()
        hand.move_to({"j_thumb_fle": 0.4, "j_mrl_fle": 0.8})
        told = [when for when, text in standin.received if when > since and text in standin.motion_commands(since)]
    assert len(told) == 2
    assert told[1] - told[0] < 0.3


def test_pressing_with_a_force(standin):
    standin.plant.block("j_mrl_fle", at=60)
    with MiaHand(standin.port, SETTINGS) as hand:
        hand.press({"j_mrl_fle": 40})
        assert _wait_for(lambda: hand.forces()["j_mrl_fle"] > 200)
        assert "@2F+....4080...." in standin.motion_commands()


@pytest.mark.parametrize(
    ("targets", "message"), [({"j_ring_fle": 0.5}, "has no motor 'j_ring_fle'"), ({"j_mrl_fle": 2.0}, "cannot go to 2.000")]
)
def test_impossible_targets_move_nothing(hand, standin, targets, message):
    with pytest.raises(ValueError, match=message):
        hand.move_to(targets)
    assert standin.motion_commands() == []


def test_an_older_hand_acknowledges_the_keep_alive_only():
    with MiaStandIn(acknowledges=False) as standin, MiaHand(standin.port, SETTINGS) as hand:
        hand.move_to({"j_mrl_fle": 0.5})
        assert hand.motor_positions()["j_mrl_fle"] == pytest.approx(0.5, abs=0.02)
        time.sleep(LINK.answer_seconds + 0.1)
        hand.check()


def test_a_few_bad_lines_do_no_harm(hand, standin):
    standin.inject(MiaFault.CORRUPTED, 0.04)
    for target in (0.7, 0.1):
        hand.move_to({"j_mrl_fle": target})
        assert standin.motor_counts()["j_mrl_fle"] == pytest.approx(target * 1280 / 7.0074, abs=6)


@pytest.mark.parametrize(
    ("fault", "amount", "reason", "words"),
    [
        (MiaFault.SILENT, 1.0, StopReason.HAND_SILENT, "did not acknowledge|sent no"),
        (MiaFault.DEAD_KEEP_ALIVE, 1.0, StopReason.HAND_SILENT, "has not answered for"),
        (MiaFault.DELAYED, 1.0, StopReason.HAND_SILENT, "did not acknowledge|sent no"),
        (MiaFault.TRUNCATED, 0.6, StopReason.HAND_FAULT, "make no sense|did not acknowledge"),
        (MiaFault.CORRUPTED, 0.9, StopReason.HAND_FAULT, "make no sense|did not acknowledge"),
        (MiaFault.NOISE, 0.7, StopReason.HAND_FAULT, "make no sense|did not acknowledge"),
        (MiaFault.WRONG_STREAM, 1.0, StopReason.HAND_SILENT, "sent no position"),
        (MiaFault.FROZEN, 1.0, StopReason.HAND_FAULT, "did not move"),
        (MiaFault.DEAF, 1.0, StopReason.HAND_FAULT, "did not move"),
        (MiaFault.UNACKNOWLEDGED, 1.0, StopReason.HAND_SILENT, "did not acknowledge"),
        (MiaFault.RUNAWAY, 1.0, StopReason.HAND_FAULT, "on its way from"),
        (MiaFault.RESTARTED, 1.0, StopReason.HAND_SILENT, "sent no (position|current|strain gauges)"),
        (MiaFault.NO_GAUGES, 1.0, StopReason.HAND_SILENT, "sent no strain gauges"),
    ],
)
def test_faults_stop_the_motors_and_everything_after(hand, standin, fault, amount, reason, words):
    hand.move_to({"j_mrl_fle": 0.3})
    injected = standin.inject(fault, amount)
    with pytest.raises(MotionStoppedError, match=words) as stop:
        _move_to_and_fro(hand)
    assert stop.value.reason is reason or (reason is StopReason.HAND_FAULT and "acknowledge" in str(stop.value))
    assert _wait_for(lambda: standin.stop_time(injected) is not None), "the motors were not told to stop"
    told = standin.stop_time(injected)
    for attempt in (lambda: hand.move_to({"j_mrl_fle": 0.0}), hand.check, hand.motor_positions, lambda: hand.turn({"j_mrl_fle": 0.5})):
        with pytest.raises(MotionStoppedError, match=words):
            attempt()
    assert standin.motion_commands(since=told) == []


def test_a_patient_driver_bears_a_line_that_is_late(standin):
    with MiaHand(standin.port, MiaSettings(percent=99).patient(1.5)) as hand:
        standin.inject(MiaFault.DELAYED, 0.7)
        hand.move_to({"j_mrl_fle": 0.8})
        assert hand.failure is None
        assert radians_from_counts("j_mrl_fle", standin.motor_counts()["j_mrl_fle"]) == pytest.approx(0.8, abs=0.02)


def test_a_patience_of_half_a_second_is_the_usual_one():
    assert MiaSettings().patient(0.5) == MiaSettings()


def test_a_cable_that_comes_off_is_noticed_at_once(hand, standin):
    hand.turn({"j_mrl_fle": 0.5})
    pulled = standin.inject(MiaFault.UNPLUGGED)
    assert _wait_for(lambda: hand.failure is not None)
    assert time.monotonic() - pulled < 0.3
    with pytest.raises(MotionStoppedError, match=r"port of the hand is gone.*cable") as stop:
        hand.move_to({"j_mrl_fle": 0.0})
    assert stop.value.reason is StopReason.HAND_SILENT


def test_faults_are_seen_while_nobody_asks(hand, standin):
    standin.inject(MiaFault.SILENT)
    assert _wait_for(lambda: hand.failure is not None)
    with pytest.raises(MotionStoppedError, match=r"sent no (position|current|strain gauges)"):
        hand.check()


def test_where_nobody_answers_it_says_so(tmp_path):
    with pytest.raises(InputError, match=r"the port .*/nothing of the Mia hand cannot be opened.*dialout"):
        MiaHand(str(tmp_path / "nothing"))
    with MiaStandIn() as standin:
        standin.inject(MiaFault.SILENT)
        with pytest.raises(MotionStoppedError, match=r"did not answer within 0.3 s; is it switched on"):
            MiaHand(standin.port, MiaSettings(link=LinkLimits(start_seconds=0.3)))


def test_a_hand_that_speaks_another_language_is_refused():
    with MiaStandIn() as standin:
        standin.inject(MiaFault.WRONG_STREAM)
        with pytest.raises(MotionStoppedError, match="sent no position within"):
            MiaHand(standin.port, MiaSettings(link=LinkLimits(start_seconds=0.3)))


def test_every_line_is_told_to_the_observer(standin):
    told = []
    with MiaHand(standin.port, SETTINGS, lambda kind, text: told.append((kind, text))) as hand:
        hand.move_to({"j_thumb_fle": 0.2})
    sent = [text for kind, text in told if kind == "sent"]
    assert [text for text in sent if text[2] == "P" and text[1] == "1"] == standin.motion_commands()
    assert any(kind == "received" and text.startswith("enc : ") for kind, text in told)


def test_a_port_is_not_shared(hand, standin):
    with pytest.raises(InputError, match="cannot be opened"):
        MiaHand(standin.port)
    hand.move_to({"j_thumb_fle": 0.1})


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_reader_that_breaks_down_stops_the_hand(standin):
    broken = []

    def observe(kind, text):
        if broken and kind == "received":
            raise RuntimeError("the disk is full")

    with MiaHand(standin.port, SETTINGS, observe) as hand:
        hand.turn({"j_mrl_fle": 0.5})
        since = time.monotonic()
        broken.append(True)
        assert _wait_for(lambda: hand.failure is not None)
        assert _wait_for(lambda: standin.stop_time(since) is not None)
        with pytest.raises(MotionStoppedError, match="listens to the hand no more"):
            hand.motor_positions()


def test_a_command_on_its_way_is_not_sent_behind_the_stop(hand, standin):
    """A fault is found while a motion command waits to be written."""
    link = hand._link
    with ThreadPoolExecutor(2) as threads, link._writing:
        command = threads.submit(hand.press, {"j_mrl_fle": 5})
        time.sleep(0.05)
        since = time.monotonic()
        fault = threads.submit(link.fail, StopReason.HAND_FAULT, "an invented fault")
        assert _wait_for(lambda: hand.failure is not None)
        link._writing.release()
        try:
            with pytest.raises(MotionStoppedError, match="an invented fault"):
                command.result()
            fault.result()
        finally:
            link._writing.acquire()
    assert _wait_for(lambda: standin.stop_time(since) is not None)
    assert standin.motion_commands() == []


def test_leaving_stops_the_motors(standin):
    with MiaHand(standin.port, SETTINGS) as hand:
        hand.turn({"j_mrl_fle": 0.5})
        left = time.monotonic()
    assert _wait_for(lambda: standin.stop_time(left) is not None)


def test_without_pyserial_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "serial", None)
    with pytest.raises(MissingDependencyError, match=r"needs pyserial: pip install 'invgraphics\[robot\]'"):
        MiaHand("/dev/ttyUSB0")


def test_slower_than_can_be_told_from_standing_is_refused():
    with pytest.raises(InputError, match="between 10 and 99"):
        MiaSettings(percent=5)


def test_the_stand_in_moves_as_fast_as_the_gears_allow():
    motors, full = BlockableMotors(), 90 * 2 * np.pi / 0.096
    state = motors.advance(0.1, {"j_mrl_fle": Drive(target=255.0, percent=50.0)})["j_mrl_fle"]
    assert state.counts == pytest.approx(0.5 * full * 0.1 / 7.0074, rel=1e-3)
