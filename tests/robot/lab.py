"""A laboratory in a process of its own: a post and a bin on a table, a UR5 with a Mia hand behind its real protocols, a camera's view.

    python -m tests.robot.lab FOLDER

Physics is one PyBullet world; arm and hand answer on loopback and on a pseudo-terminal. Writes the camera's picture to `FOLDER/view.npz`,
prints one JSON line with the address and the port, and then, for every line read, where the post is, what it touches, and how high it
has ever been.
"""

import json
import sys
from pathlib import Path

import numpy as np

from grasp_sim.world import World
from invgraphics.demo.cell import PARKED, build_cell
from invgraphics.demo.film import scale_camera
from invgraphics.demo.run import CAMERA
from invgraphics.demo.table import place_camera, settle_toys, take_photograph
from invgraphics.demo.toys import Toy
from robot.bin import Bin
from robot.standins.mia import MiaStandIn
from robot.standins.physical import PhysicalRobot
from robot.standins.ur import URStandIn
from robot.standins.ur_arm import ArmModel
from robot.standins.ur_controller import CYCLE, Controller

POST = Toy("post", "jenga/jenga.obj", (0.045, 0.045, 0.1), "box", 0.1, (1.0, 1.0, 1.0))
"""Stands on its small end, 10 cm high: something that this hand grasps well."""
RUBBER = 1.0
"""Friction of the post: how marginal a grip may be is for other tests."""
BIN = Bin(0.2, 0.45, length=0.36, width=0.26, height=0.06)
"""Beside what the camera sees."""
SCALE = 0.5
SPEEDUP = 1.0
"""Seconds of the arm's time in one of ours."""
PATIENCE = 1.5
"""Seconds for which the world stands still where the driver's next setpoint is late."""
WAITING = PARKED + np.array([0.9, 0.0, 0.0, 0.0, 0.0, 0.0])
"""Where the arm waits, beside what the camera sees, over the bin (radians)."""
TOUCHING = 1e-3
"""Metres between two bodies that touch."""
FORCE_SECONDS = 0.05
"""Over which a controller evens out what it makes of its joints' currents."""


def measure_push(world: World, robot: int, body: int, supports: tuple[int, ...]) -> float:
    """Newtons by which what stands fast pushes up the robot and what it touches."""
    pushed = [robot, body] if robot in world.touching(body) else [robot]
    contacts = (contact for each in pushed for support in supports for contact in world.contacts(each, support))
    return sum(contact.force * contact.normal[2] for contact in contacts)


def main() -> None:
    """Until the standard input ends."""
    folder = Path(sys.argv[1])
    generator = np.random.default_rng(1)
    with World(time_step=CYCLE / 4) as world:
        (body,) = settle_toys(world, (POST,), folder, generator)
        world.set_friction(body, RUBBER)
        cell = build_cell(folder, WAITING, bin_=BIN)
        bin_body = cell.add_bin_to(world, np.eye(4))
        camera = scale_camera(place_camera(*CAMERA), SCALE)
        picture = take_photograph(world, (body,), camera, generator)
        depth, pose = picture.depth * picture.depth_unit, camera.T_world_camera.numpy()
        np.savez(folder / "view.npz", rgb=picture.colour, depth=depth, K=camera.K.numpy(), T_base_camera=pose)
        robot = cell.add_to(world, np.eye(4))
        highest, tool_force = [0.0], np.zeros(6)

        def look() -> None:
            highest[0] = max(highest[0], float(world.centre_of_mass(body)[2]))
            tool_force[2] += (measure_push(world, robot, body, (world.plane, bin_body)) - tool_force[2]) * world.time_step / FORCE_SECONDS

        plant = PhysicalRobot(world, robot, {name: motor.effort for name, motor in cell.hand.motors.items()}, look)
        controller = Controller(ArmModel(WAITING, plant=plant.move_arm), tool_force=tool_force)
        with MiaStandIn(plant) as hand, URStandIn(controller, speedup=SPEEDUP, patience=PATIENCE) as arm:
            print(json.dumps({"address": arm.address, "port": hand.port}), flush=True)
            others = {"bin": bin_body, "table": world.plane, "robot": robot}
            for _ in sys.stdin:
                pose = plant.ask(lambda: world.pose(body).tolist())
                touches = plant.ask(lambda: [name for name, other in others.items() if world.near(body, other, TOUCHING)])
                motions = sum(record.kind == "motion" for record in controller.records)
                print(json.dumps({"post": pose, "touches": touches, "highest": highest[0], "motions": motions}), flush=True)


if __name__ == "__main__":
    main()
