"""The UR5 driver against the stand-in of its controller, through ur-rtde."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing import Pipe
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from robot.kinematics import UR5_LIMITS, forward_kinematics
from robot.log import RobotLog, read_log
from robot.motion import MotionSettings, linear_path
from robot.rtde_wire import PacketType, WireError, pack_fields, pack_packet, take_packets, unpack_fields
from robot.stops import MotionStoppedError, StopReason
from robot.trajectory import time_path
from robot.ur5 import UR5
from robot.ur5_messages import CYCLE, Done, Follow, State
from robot.ur5_servo import PathMotion, Teller
from robot.ur_pose import matrix_to_pose, pose_to_matrix
from robot.ur_states import RuntimeState
from tests.benchmarks.arm_faults import PAYLOAD, SPEED, Bench, open_bench, plan_motion, settings_for, wait_for_motion

pytestmark = pytest.mark.realtime

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="ur-rtde and loopback addresses besides 127.0.0.1")
FOLLOWING_ERROR = 0.004
"""Radians between path and arm; the servo smooths over 0.1 s, which shifts the arm in time more than off its path."""


@pytest.fixture
def bench() -> Iterator[Bench]:
    pytest.importorskip("rtde_control")
    with open_bench() as opened:
        opened.driver = UR5(settings_for(opened.stand_in.address))
        yield opened


@pytest.fixture
def patient_bench() -> Iterator[Bench]:
    """One whose stand-in waits for every setpoint, so that no busy computer makes them late."""
    pytest.importorskip("rtde_control")
    with open_bench(patience=2.0) as opened:
        opened.driver = UR5(replace(settings_for(opened.stand_in.address), stale_after=2.0, watchdog_frequency=0.5))
        yield opened


def distance_to_path(points: np.ndarray, path: np.ndarray) -> float:
    """The largest distance of a point to the nearest point of a densely sampled path, radians."""
    return float(np.linalg.norm(points[:, None] - path[None], axis=-1).min(axis=1).max())


def motions(bench: Bench) -> int:
    return sum(record.kind == "motion" for record in bench.controller.records)


@on_linux
def test_arm_goes_along_the_trajectory_and_arrives(bench: Bench) -> None:
    trajectory = plan_motion()
    moments = len(bench.controller.moments)
    started = time.monotonic()
    assert bench.driver.follow(trajectory)
    assert time.monotonic() - started >= trajectory.duration
    went = np.array([moment.q for moment in bench.controller.moments[moments:]])
    path = np.array([trajectory.sample(t)[0] for t in np.linspace(0, trajectory.duration, 500)])
    assert distance_to_path(went, path) < FOLLOWING_ERROR
    np.testing.assert_allclose(bench.driver.joint_positions(), trajectory.positions[-1], atol=0.006)
    fastest = max(abs(moment.qd).max() for moment in bench.controller.moments)
    assert fastest < 1.05 * SPEED.joint_share * UR5_LIMITS.velocity.max()


@on_linux
def test_arm_brakes_on_its_path_when_asked_to(bench: Bench) -> None:
    trajectory = plan_motion()
    early = trajectory.positions[0, 0] + 0.03
    assert not bench.driver.follow(trajectory, lambda: bench.driver.joint_positions()[0] > early)
    q = bench.driver.joint_positions()
    assert early < q[0] < trajectory.positions[-1][0] - 0.01
    path = np.array([trajectory.sample(t)[0] for t in np.linspace(0, trajectory.duration, 500)])
    assert distance_to_path(q[None], path) < FOLLOWING_ERROR + 0.005
    assert bench.driver.follow(plan_motion(q)), "a motion that was broken off is no stop"


@pytest.mark.parametrize(("speed", "seconds"), [(0.1, 0.02), (1.0, 0.2), (3.0, 0.3)])
def test_slow_motion_brakes_in_less_time(speed: float, seconds: float) -> None:
    line = np.arange(500)[:, None] * np.full(6, speed * CYCLE)
    motion = PathMotion(Follow(1, line), braking_seconds=0.3)
    motion.next()
    motion.brake()
    setpoints = [motion.next()]
    while not motion.over:
        setpoints.append(motion.next())
    steps = np.diff(np.stack(setpoints), axis=0)
    assert len(setpoints) * CYCLE == pytest.approx(seconds, abs=1.01 * CYCLE)
    assert (steps >= 0).all()
    assert steps.max(initial=0) < speed * CYCLE


def feel(bench: Bench, q_touch: float, newtons: float) -> None:
    """From where the first joint reaches an angle the tool is pushed up; a load of 20 N is there from the start."""
    arm = bench.controller.arm
    bench.controller.lies["actual_TCP_force"] = lambda _: (0.0, 0.0, -20.0 + newtons * (arm.q[0] > q_touch), 0.0, 0.0, 0.0)


@on_linux
def test_touch_ends_a_motion_where_the_arm_stands_however_busy_the_program_is(patient_bench: Bench) -> None:
    trajectory = plan_motion()
    where = trajectory.positions[0, 0] + 0.07
    feel(patient_bench, where, 20.0)
    assert not patient_bench.driver.follow(trajectory, until=lambda: time.sleep(0.3) is not None, touch=15.0)
    lookahead = 0.1 * float(abs(trajectory.velocities[:, 0]).max())
    reached = patient_bench.driver.joint_positions()[0]
    assert where - 0.002 < reached < where + 0.5 * lookahead, "setpoints led the arm by more than that"


@on_linux
def test_a_push_that_is_there_from_the_start_or_too_weak_is_no_touch(patient_bench: Bench) -> None:
    trajectory = plan_motion()
    feel(patient_bench, trajectory.positions[0, 0] + 0.07, 10.0)
    assert patient_bench.driver.follow(trajectory, touch=15.0)


@pytest.mark.parametrize("speed", [0.05, 0.5, 3.0])
def test_turning_back_goes_no_farther_than_a_setpoint_may(speed: float) -> None:
    line = np.arange(500)[:, None] * np.full(6, speed * CYCLE)
    motion = PathMotion(Follow(1, line, touch=10.0), braking_seconds=0.3)
    setpoints = [motion.next() for _ in range(100)]
    q = setpoints[-1] - 0.1 * speed
    motion.turn_back(q, largest_step=0.0256)
    end = motion.next()
    assert motion.over
    assert abs(end - setpoints[-1]).max() <= 0.0256 + 1e-9
    np.testing.assert_allclose(end, np.maximum(q, setpoints[-1] - 0.0256), atol=speed * CYCLE)


@on_linux
@pytest.mark.parametrize("patience", [0.0, 2.0])
def test_patient_stand_in_waits_for_the_next_setpoint(patience: float) -> None:
    pytest.importorskip("rtde_control")
    with open_bench(patience=patience) as bench:
        bench.driver = UR5(replace(settings_for(bench.stand_in.address), stale_after=2.0, watchdog_frequency=0.5))
        process, clock = bench.driver.servo_process_id, []

        def pause() -> bool:
            if not clock and bench.driver.joint_positions()[0] > plan_motion().positions[0, 0] + 0.03:
                os.kill(process, signal.SIGSTOP)
                time.sleep(0.05)
                clock.append(bench.controller.timestamp)
                time.sleep(0.3)
                clock.append(bench.controller.timestamp)
                os.kill(process, signal.SIGCONT)
            return False

        assert bench.driver.follow(plan_motion(), pause)
        cycles = round((clock[1] - clock[0]) / CYCLE)
    assert cycles == 0 if patience else cycles > 5


@on_linux
def test_controllers_own_motions_arrive(bench: Bench) -> None:
    q_start = bench.driver.joint_positions()
    assert bench.driver.move_joints(q_start + np.array([0.05, 0.0, 0.0, 0.0, 0.0, -0.1]))
    q = bench.driver.joint_positions()
    np.testing.assert_allclose(q, q_start + np.array([0.05, 0.0, 0.0, 0.0, 0.0, -0.1]), atol=0.006)
    T_up = forward_kinematics(q)
    T_up[2, 3] += 0.05
    path = linear_path(forward_kinematics(q), T_up, q, MotionSettings())
    straight = SPEED.slow_down(time_path(path, UR5_LIMITS), UR5_LIMITS)
    moments = len(bench.controller.moments)
    assert bench.driver.move_straight(straight)
    np.testing.assert_allclose(forward_kinematics(bench.driver.joint_positions()), T_up, atol=0.006)
    flange = forward_kinematics(np.array([moment.q for moment in bench.controller.moments[moments:]]))[:, :2, 3]
    assert abs(flange - T_up[:2, 3]).max() < 0.002, "the flange went straight up"


def test_a_main_program_that_reads_nothing_is_not_waited_for() -> None:
    state = State(0.0, 0.0, (0.0,) * 6, (0.0,) * 6, (0.0,) * 6, (0.0,) * 6, 7, 1, 2, 0.0)
    ours, theirs = Pipe()
    teller = Teller(theirs)

    def tell() -> None:
        for k in range(5000):
            teller.send_state(replace(state, timestamp=float(k)))
        teller.send(Done(3, True))

    thread = Thread(target=tell, daemon=True)
    thread.start()
    thread.join(20.0)
    assert not thread.is_alive(), "it waits for a reader"
    told = []
    while ours.poll():
        told.append(ours.recv())
    assert told[-1] == Done(3, True)
    times = [message.timestamp for message in told[:-1]]
    assert 10 < len(times) < 5000
    assert times == sorted(times)


@on_linux
def test_tool_is_set_on_the_controller(bench: Bench) -> None:
    assert bench.controller.tool.payload == PAYLOAD
    assert bench.controller.tool.centre_of_gravity == (0.0, 0.0, 0.06)
    assert bench.driver.state().payload == PAYLOAD


@on_linux
def test_what_is_not_allowed_is_never_sent(bench: Bench) -> None:
    q = bench.driver.joint_positions()
    too_fast = time_path(np.stack([q, q - 0.5]), UR5_LIMITS)
    with pytest.raises(ValueError, match="of its speed"):
        bench.driver.follow(too_fast)
    with pytest.raises(ValueError, match="starts"):
        bench.driver.follow(plan_motion(q + 0.1))
    with pytest.raises(ValueError, match="beyond its range"):
        bench.driver.move_joints(np.array([0.0, 0.0, 0.0, 0.0, 0.0, 6.4]))
    assert motions(bench) == 0


@on_linux
def test_only_a_person_ends_a_stop(bench: Bench) -> None:
    bench.stand_in.inject(bench.controller.protective_stop)
    with pytest.raises(MotionStoppedError) as stop:
        bench.driver.wait(1.0)
    assert stop.value.reason is StopReason.PROTECTIVE_STOP
    q = bench.driver.joint_positions()
    with pytest.raises(MotionStoppedError):
        bench.driver.reset("the test")
    np.testing.assert_array_equal(bench.driver.joint_positions(), q)
    bench.stand_in.inject(bench.controller.recover)
    with pytest.raises(MotionStoppedError):
        bench.driver.follow(plan_motion())
    assert motions(bench) == 0
    bench.driver.reset("the test")
    assert bench.driver.follow(plan_motion(bench.driver.joint_positions()))


@on_linux
def test_a_stop_that_was_not_looked_at_yet_is_not_blamed_on_a_person(bench: Bench) -> None:
    """The servo process has ended by itself before the program says stop."""
    bench.stand_in.inject(bench.controller.emergency_stop)
    wait_until(lambda: bench.driver._servo.stopped is not None)
    bench.driver.stop("the program gave up")
    assert bench.driver.stopped is not None
    assert bench.driver.stopped.reason is StopReason.EMERGENCY_STOP


@on_linux
def test_failing_question_stops_the_arm(bench: Bench) -> None:
    def fails() -> bool:
        if bench.driver.joint_positions()[0] > np.pi + 0.03:
            raise MotionStoppedError("no answer", StopReason.HAND_SILENT)
        return False

    with pytest.raises(MotionStoppedError, match="no answer"):
        bench.driver.follow(plan_motion(), fails)
    assert abs(bench.controller.moments[-1].qd).max() < 0.02
    assert bench.driver.joint_positions()[0] < np.pi + 0.12


class Bomb:
    """What no process can read."""

    def __reduce__(self) -> tuple:
        return getattr, (5, "nothing")


@on_linux
def test_a_servo_process_that_breaks_down_is_told_of_by_its_error(bench: Bench) -> None:
    bench.driver._servo.send(Bomb())
    with pytest.raises(MotionStoppedError, match="AttributeError: 'int' object has no attribute 'nothing'") as stop:
        bench.driver.wait(5.0)
    assert stop.value.reason is StopReason.CONNECTION_LOST
    assert motions(bench) == 0


@on_linux
def test_arm_stops_when_the_main_program_dies() -> None:
    pytest.importorskip("rtde_control")
    with open_bench() as opened:
        code = (
            "from robot.ur5 import UR5; from tests.benchmarks.arm_faults import *\n"
            f"arm = UR5(settings_for({opened.stand_in.address!r})); arm.follow(plan_motion(scale=8.0))\n"
        )
        program = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
        wait_for_motion(opened)
        os.kill(program.pid, signal.SIGKILL)
        program.wait()
        wait_until(lambda: abs(opened.controller.moments[-1].qd).max() < 0.001 and opened.controller.runtime is RuntimeState.STOPPED)
        sent = motions(opened)
        time.sleep(0.3)
        assert motions(opened) == sent
        assert opened.controller.arm.q[0] < plan_motion(scale=8.0).positions[-1][0] - 0.3


def wait_until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@on_linux
def test_log_tells_every_command_and_state(tmp_path: Path) -> None:
    pytest.importorskip("rtde_control")
    with open_bench() as opened, RobotLog(tmp_path / "log.jsonl") as log:
        with UR5(settings_for(opened.stand_in.address), log) as arm:
            arm.follow(plan_motion())
        sent = motions(opened)
    records = list(read_log(tmp_path / "log.jsonl"))
    states = [record.entries for record in records if record.kind == "state"]
    assert abs(sum(state["setpoint"] is not None for state in states) - sent) <= 1
    assert [record.kind for record in records if record.kind not in ("state", "log")] == ["connect", "command", "done"]
    clocks = [record.clock for record in records if record.kind == "state"]
    assert clocks == sorted(clocks)
    with pytest.raises(FileExistsError):
        RobotLog(tmp_path / "log.jsonl")


poses = st.tuples(
    arrays(np.float64, 3, elements=st.floats(-1.0, 1.0)), arrays(np.float64, 3, elements=st.floats(-1.0, 1.0)), st.floats(0.0, np.pi)
).map(lambda parts: np.concatenate([parts[0], parts[2] * parts[1] / max(float(np.linalg.norm(parts[1])), 1e-9)]))


@given(poses)
def test_pose_vectors_round_trip(pose: np.ndarray) -> None:
    T = pose_to_matrix(pose)
    np.testing.assert_allclose(T[:3, :3] @ T[:3, :3].T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(pose_to_matrix(matrix_to_pose(T)), T, atol=1e-9)
    assert np.linalg.norm(matrix_to_pose(T)[3:]) <= np.pi + 1e-9
    np.testing.assert_allclose(T[:3, :3] @ pose[3:], pose[3:], atol=1e-9)


def test_pose_vector_is_the_controllers() -> None:
    """A quarter turn about z at (1, 2, 3) takes x to y."""
    T = pose_to_matrix(np.array([1.0, 2.0, 3.0, 0.0, 0.0, np.pi / 2]))
    np.testing.assert_allclose(T @ [1.0, 0.0, 0.0, 1.0], [1.0, 3.0, 3.0, 1.0], atol=1e-12)


def test_packets_are_those_of_the_guide() -> None:
    assert pack_packet(PacketType.REQUEST_PROTOCOL_VERSION, b"\x00\x02") == b"\x00\x05V\x00\x02"
    assert (
        pack_fields(["INT32", "VECTOR3D"], [-2, (1.0, 0.0, -1.0)]).hex() == "fffffffe" + "3ff0000000000000" + 16 * "0" + "bff0000000000000"
    )


numbers = st.floats(allow_nan=False)
value_of = {
    "DOUBLE": numbers,
    "VECTOR3D": st.tuples(*[numbers] * 3),
    "VECTOR6D": st.tuples(*[numbers] * 6),
    "INT32": st.integers(-(2**31), 2**31 - 1),
    "UINT32": st.integers(0, 2**32 - 1),
    "UINT64": st.integers(0, 2**64 - 1),
    "VECTOR6INT32": st.tuples(*[st.integers(-(2**31), 2**31 - 1)] * 6),
}


recipes = st.lists(st.sampled_from(sorted(value_of)), min_size=1, max_size=8).flatmap(
    lambda kinds: st.tuples(st.just(kinds), st.tuples(*[value_of[kind] for kind in kinds]))
)


@settings(max_examples=50)
@given(recipes, st.integers(1, 40))
def test_fields_round_trip_in_pieces(case: tuple[list[str], tuple], piece: int) -> None:
    kinds, values = case
    stream = pack_packet(PacketType.DATA_PACKAGE, pack_fields(kinds, values)) * 2
    buffer, found = bytearray(), []
    for start in range(0, len(stream), piece):
        buffer += stream[start : start + piece]
        found += [unpack_fields(kinds, payload) for _, payload in take_packets(buffer)]
    assert found == [list(values)] * 2
    assert not buffer


def test_bytes_that_are_no_packet_are_refused() -> None:
    with pytest.raises(WireError):
        list(take_packets(bytearray(b"\x00\x02V")))
    with pytest.raises(WireError):
        list(take_packets(bytearray(b"\x00\x05\x01ab")))
    with pytest.raises(WireError):
        unpack_fields(["DOUBLE"], b"\x00" * 7)
