"""The physics world: rigid bodies, articulated bodies, contacts, motors, a camera. The only file that knows PyBullet.

Bodies are named by the integers that the `add_...` methods return; joints and links by their URDF names. Poses are (4, 4) float64
`T_world_body` in metres, with the body frame that the caller gave (mesh frame, URDF root link), not the centre of mass.
The friction coefficient between two bodies is the product of theirs (Bullet's rule).
"""

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
from jaxtyping import Float

from grasp_sim.drives import Coupling, Drive
from grasp_sim.opengl import projection_matrix, read_buffers, view_matrix
from grasp_sim.poses import invert_pose, join_pose, split_pose
from grasp_sim.records import DEFAULT_DENSITY, DEFAULT_FRICTION, GRAVITY, Articulation, Contact, JointLimits, JointState, Lighting, Picture
from grasp_sim.silence import silenced
from grasp_sim.solids import Polyhedron, Solid, build_solid, describe_obj, object_surface
from invgraphics.camera import Camera
from invgraphics.geometry.mesh import Mesh
from invgraphics.scene import Scene

with silenced():
    import pybullet

_TIME_STEP = 1 / 480
"""Seconds. At 1/240 what is held creeps out of round grasps, and a hand that brushes past is not felt (`tests.benchmarks.time_step`)."""
_SOLVER_ITERATIONS = 100
_CONTACT_BREAKING = 0.02
"""Metres of separation at which Bullet forgets a contact point, of which it finds one a step: flat faces need four. At 4 mm, boxes held
by flat fingers sometimes keep one that flickers from corner to corner while the fingers sink in; at 1 mm they creep down slopes."""
_TOUCHING = 0.001
"""Metres of separation up to which a contact point counts as touching."""


class World:
    """A simulated world of its own (several may live side by side). Use it as a context manager, or call `close`.

    Nothing in it is random: the same calls give the same motion.
    """

    def __init__(self, *, time_step: float = _TIME_STEP, gravity: float = GRAVITY, solver_iterations: int = _SOLVER_ITERATIONS):
        """An empty world; `time_step` in seconds, `gravity` in m/s^2 along -z."""
        self._client: int | None = pybullet.connect(pybullet.DIRECT)
        self._files = tempfile.TemporaryDirectory(prefix="invgraphics_world_")
        self._bodies: dict[int, Articulation] = {}
        self._drives: dict[int, dict[str, Drive]] = {}
        self._file_count = 0
        self.plane: int | None = None
        self.time_step = time_step
        self.time = 0.0
        self._gravity = gravity
        self._call(pybullet.setGravity, 0, 0, -gravity)
        self._call(
            pybullet.setPhysicsEngineParameter,
            fixedTimeStep=time_step,
            numSolverIterations=solver_iterations,
            contactBreakingThreshold=_CONTACT_BREAKING,
            deterministicOverlappingPairs=1,
            enableFileCaching=0,
        )

    def __enter__(self) -> "World":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Frees the simulation. Closing twice does no harm."""
        if self._client is not None:
            pybullet.disconnect(physicsClientId=self._client)
            self._client = None
            self._files.cleanup()

    def _call(self, function, *arguments, **options):
        if self._client is None:
            raise RuntimeError("this World is closed")
        return function(*arguments, **options, physicsClientId=self._client)

    def add_plane(self, *, height: float = 0.0, friction: float = 1.0, colour: Sequence[float] = (0.7, 0.7, 0.7)) -> int:
        """An immovable plane z = `height`, solid below; drawn as a 10 m square."""
        shape = self._call(pybullet.createCollisionShape, pybullet.GEOM_PLANE, planeNormal=[0, 0, 1])
        square = [[-5, -5, 0], [5, -5, 0], [5, 5, 0], [-5, 5, 0]]
        visual = self._call(
            pybullet.createVisualShape,
            pybullet.GEOM_MESH,
            vertices=square,
            indices=[0, 1, 2, 0, 2, 3],
            normals=[[0, 0, 1]] * 4,
            rgbaColor=[*colour, 1],
        )
        body = self._call(pybullet.createMultiBody, 0.0, shape, visual, [0, 0, height])
        self.plane = self._register(body, friction, np.eye(4))
        return self.plane

    def add_box(
        self,
        half_extents: Sequence[float],
        T_world_body: Float[np.ndarray, "4 4"],
        *,
        mass: float = 0.0,
        friction: float = DEFAULT_FRICTION,
        colour: Sequence[float] = (0.6, 0.6, 0.6),
    ) -> int:
        """A solid box about its centre, `half_extents` in metres; `mass` 0 fixes it in space."""
        shape = self._call(pybullet.createCollisionShape, pybullet.GEOM_BOX, halfExtents=list(half_extents))
        visual = self._call(pybullet.createVisualShape, pybullet.GEOM_BOX, halfExtents=list(half_extents), rgbaColor=[*colour, 1])
        position, quaternion = split_pose(T_world_body)
        body = self._call(pybullet.createMultiBody, mass, shape, visual, position, quaternion)
        return self._register(body, friction, np.eye(4))

    def add_mesh(
        self,
        mesh: Mesh | Solid,
        T_world_body: Float[np.ndarray, "4 4"],
        *,
        density: float = DEFAULT_DENSITY,
        friction: float = DEFAULT_FRICTION,
        fixed: bool = False,
        colour: Sequence[float] = (0.8, 0.5, 0.3),
        drawn: bool = True,
    ) -> int:
        """A solid of uniform `density` (kg/m^3) bounded by a closed mesh (metres, body frame), colliding as its convex pieces.

        Give a `Solid` (see `grasp_sim.solids`) to decompose once and use it in many worlds. Mass, centre of mass and inertia
        are those of the mesh's volume. What is not `drawn` is cheaper to make, and `render` does not show it.
        """
        shape = mesh if isinstance(mesh, Solid) else build_solid(mesh)
        T_body_inertial, T_inertial_body = shape.T_body_inertial, invert_pose(shape.T_body_inertial)
        collision = self._call(pybullet.createCollisionShape, pybullet.GEOM_MESH, fileName=self._mesh_file(shape.pieces, T_inertial_body))
        if drawn:
            file = self._mesh_file([Polyhedron(shape.vertices, shape.faces)], T_inertial_body)
            visual = self._call(pybullet.createVisualShape, pybullet.GEOM_MESH, fileName=file, rgbaColor=[*colour, 1])
        else:
            visual = self._call(pybullet.createVisualShape, pybullet.GEOM_SPHERE, radius=1e-5)
        position, quaternion = split_pose(T_world_body @ T_body_inertial)
        mass = 0.0 if fixed else density * shape.volume
        body = self._call(pybullet.createMultiBody, mass, collision, visual, position, quaternion)
        if not fixed:
            self._call(pybullet.changeDynamics, body, -1, localInertiaDiagonal=(density * shape.unit_inertia).tolist())
        return self._register(body, friction, T_inertial_body)

    def add_scene(
        self,
        scene: Scene,
        *,
        density: float = DEFAULT_DENSITY,
        friction: float = DEFAULT_FRICTION,
        plane_friction: float = 1.0,
    ) -> tuple[int, ...]:
        """The support plane (where the scene has one) and every object, as a mesh where it has one, else as its ellipsoid.

        Returns the objects' bodies in the scene's order, in the objects' own frames.
        """
        if scene.plane is not None:
            self.add_plane(friction=plane_friction)
        bodies = []
        for item in scene.objects:
            T_world_object = item.T_world_object.detach().cpu().double().numpy()
            colour = item.material.base_colour.detach().cpu().clamp(0, 1).tolist()
            bodies.append(self.add_mesh(object_surface(item), T_world_object, density=density, friction=friction, colour=colour))
        return tuple(bodies)

    def add_urdf(
        self,
        path: str | Path,
        T_world_base: Float[np.ndarray, "4 4"],
        *,
        fixed: bool = False,
        friction: float | None = None,
        self_collision: bool = False,
    ) -> int:
        """A body from a URDF file, its root link frame at `T_world_base`; inertias as the file says.

        All joints are free (PyBullet's default motors are off) until `set_joint_targets`. `friction` overrides that of every link.
        `self_collision` leaves out links joined by one joint.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such URDF file")
        flags = pybullet.URDF_USE_INERTIA_FROM_FILE | pybullet.URDF_MAINTAIN_LINK_ORDER
        if self_collision:
            flags |= pybullet.URDF_USE_SELF_COLLISION | pybullet.URDF_USE_SELF_COLLISION_EXCLUDE_PARENT
        with silenced():
            body = self._call(pybullet.loadURDF, str(path), useFixedBase=fixed, flags=flags)
        dynamics = self._call(pybullet.getDynamicsInfo, body, -1)
        self._register(body, friction, invert_pose(join_pose(dynamics[3], dynamics[4])))
        for index in self._bodies[body].joints.values():
            self._call(pybullet.setJointMotorControl2, body, index, pybullet.VELOCITY_CONTROL, force=0.0)
        self.set_pose(body, T_world_base)
        return body

    def _register(self, body: int, friction: float | None, T_inertial_body: np.ndarray) -> int:
        if body < 0:
            raise RuntimeError("PyBullet could not create the body")
        self._bodies[body] = self._read_articulation(body, T_inertial_body)
        if friction is not None:
            for index in self._bodies[body].links.values():
                self._call(pybullet.changeDynamics, body, index, lateralFriction=friction)
        return body

    def _read_articulation(self, body: int, T_inertial_body: np.ndarray) -> Articulation:
        joints, limits = {}, {}
        links = {self._call(pybullet.getBodyInfo, body)[0].decode(): -1}
        for index in range(self._call(pybullet.getNumJoints, body)):
            info = self._call(pybullet.getJointInfo, body, index)
            links[info[12].decode()] = index
            if info[2] in (pybullet.JOINT_REVOLUTE, pybullet.JOINT_PRISMATIC):
                name = info[1].decode()
                joints[name] = index
                limits[name] = JointLimits(info[8], info[9], info[10], info[11])
        return Articulation(joints, links, limits, T_inertial_body)

    def set_friction(
        self, body: int, friction: float, *, spinning: float = 0.0, rolling: float = 0.0, links: Iterable[str] | None = None
    ) -> None:
        """Changes the friction of a body, or of some of its links; `spinning` and `rolling` are coefficients in metres."""
        options = {"lateralFriction": friction, "spinningFriction": spinning, "rollingFriction": rolling}
        for name in self._bodies[body].links if links is None else links:
            self._call(pybullet.changeDynamics, body, self._bodies[body].links[name], **options)

    def remove(self, body: int) -> None:
        """Takes a body out of the world."""
        self._call(pybullet.removeBody, body)
        del self._bodies[body]
        self._drives.pop(body, None)

    def set_mass(self, body: int, mass: float, moments: Float[np.ndarray, "3"]) -> None:
        """Changes mass (kg) and principal moments of inertia (kg m^2) of a body's root."""
        self._call(pybullet.changeDynamics, body, -1, mass=mass, localInertiaDiagonal=moments.tolist())

    def push(self, body: int, force: Float[np.ndarray, "3"]) -> None:
        """Pulls at a body's centre of mass with a force (N, world frame) during the next time step."""
        centre = self.centre_of_mass(body).tolist()
        self._call(pybullet.applyExternalForce, body, -1, force.tolist(), centre, pybullet.WORLD_FRAME)

    def mass(self, body: int) -> float:
        """Of all its links, kg."""
        return sum(self._call(pybullet.getDynamicsInfo, body, index)[0] for index in self._bodies[body].links.values())

    def _mesh_file(self, parts: Sequence[Polyhedron], T_inertial_body: np.ndarray) -> str:
        """Writes parts (body frame) to a file of their own in the inertial frame, for PyBullet reads meshes of several parts from files."""
        self._file_count += 1
        path = Path(self._files.name) / f"mesh_{self._file_count}.obj"
        path.write_text(describe_obj(parts, T_inertial_body))
        return str(path)

    def step(self, count: int = 1) -> None:
        """Advances `count` time steps; coupled joints follow their drivers in each."""
        for _ in range(count):
            for body, drives in self._drives.items():
                for drive in drives.values():
                    self._drive(body, drive)
            self._call(pybullet.stepSimulation)
        self.time += count * self.time_step

    def settle(self, bodies: Iterable[int], *, max_seconds: float = 3.0, speed: float = 0.01, turn_rate: float = 0.1) -> bool:
        """Steps until the bodies have been slower than `speed` (m/s) and `turn_rate` (rad/s) for 0.1 s; whether they came to rest."""
        bodies = tuple(bodies)
        needed = max(1, round(0.1 / self.time_step))
        quiet = 0
        for _ in range(round(max_seconds / self.time_step)):
            self.step()
            velocities = [self.velocity(body) for body in bodies]
            slow = all(np.linalg.norm(v) < speed and np.linalg.norm(w) < turn_rate for v, w in velocities)
            quiet = quiet + 1 if slow else 0
            if quiet >= needed:
                return True
        return False

    def pose(self, body: int) -> Float[np.ndarray, "4 4"]:
        """`T_world_body`."""
        position, quaternion = self._call(pybullet.getBasePositionAndOrientation, body)
        return join_pose(position, quaternion) @ self._bodies[body].T_inertial_body

    def set_pose(self, body: int, T_world_body: Float[np.ndarray, "4 4"]) -> None:
        """Puts a body somewhere, at rest."""
        position, quaternion = split_pose(T_world_body @ invert_pose(self._bodies[body].T_inertial_body))
        self._call(pybullet.resetBasePositionAndOrientation, body, position, quaternion)

    def centre_of_mass(self, body: int) -> Float[np.ndarray, "3"]:
        """Of the root link, world frame, metres."""
        return np.array(self._call(pybullet.getBasePositionAndOrientation, body)[0])

    def push_apart(self, bodies: Iterable[int], *, overlap: float = 5e-4, max_steps: int = 240) -> bool:
        """Moves bodies out of one another and out of the plane, gently: without gravity, at rest after every step.

        Returns whether none overlaps by more than `overlap` metres any more.
        """
        bodies = tuple(bodies)
        self._call(pybullet.setGravity, 0, 0, 0)
        try:
            for _ in range(max_steps):
                self.step()
                for body in bodies:
                    self._call(pybullet.resetBaseVelocity, body, [0, 0, 0], [0, 0, 0])
                if all(contact.distance > -overlap for body in bodies for contact in self.contacts(body)):
                    return True
            return False
        finally:
            self._call(pybullet.setGravity, 0, 0, -self._gravity)

    def velocity(self, body: int) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]:
        """Velocity of the root link's centre of mass (m/s) and turning rate (rad/s), world frame."""
        linear, angular = self._call(pybullet.getBaseVelocity, body)
        return np.array(linear), np.array(angular)

    def link_names(self, body: int) -> tuple[str, ...]:
        """Links of a body, its root first."""
        return tuple(self._bodies[body].links)

    def link_pose(self, body: int, link: str) -> Float[np.ndarray, "4 4"]:
        """`T_world_link`, of the URDF link frame."""
        index = self._bodies[body].links[link]
        if index == -1:
            return self.pose(body)
        state = self._call(pybullet.getLinkState, body, index, computeForwardKinematics=1)
        return join_pose(state[4], state[5])

    def joint_limits(self, body: int) -> dict[str, JointLimits]:
        """Limits of every movable joint, in the file's order."""
        return dict(self._bodies[body].limits)

    def joint_states(self, body: int) -> dict[str, JointState]:
        """State of every movable joint, in the file's order."""
        joints = self._bodies[body].joints
        if not joints:
            return {}
        states = self._call(pybullet.getJointStates, body, list(joints.values()))
        return {name: JointState(state[0], state[1], state[3]) for name, state in zip(joints, states, strict=True)}

    def motor_positions(self, body: int) -> dict[str, float]:
        """Where the motors of coupled joints stand (`couple_joints`), radians or metres, signed."""
        return {name: drive.command for name, drive in self._drives.get(body, {}).items()}

    def set_joint_positions(self, body: int, positions: Mapping[str, float]) -> None:
        """Puts joints somewhere, at rest; the name of a motor puts all joints that it drives where they belong."""
        drives = self._drives.get(body, {})
        placed = {name: position for name, position in positions.items() if name not in drives}
        for name in positions.keys() & drives.keys():
            drives[name].command = drives[name].target = positions[name]
            placed |= {joint: coupling.position(positions[name]) for joint, coupling in drives[name].followers.items()}
        for name, position in placed.items():
            self._call(pybullet.resetJointState, body, self._bodies[body].joints[name], position, 0.0)

    def set_joint_targets(
        self,
        body: int,
        targets: Mapping[str, float],
        *,
        max_efforts: Mapping[str, float] | None = None,
        max_velocities: Mapping[str, float] | None = None,
    ) -> None:
        """Position servos: each joint moves towards its target with at most its effort and velocity limit, and holds it.

        The limits are the URDF's unless given by name. The name of a motor (`couple_joints`) moves all joints that it drives; its
        effort is what they get together. A joint that a motor drives takes no target of its own.
        """
        limits, drives = self._bodies[body].limits, self._drives.get(body, {})
        driven = {joint for drive in drives.values() for joint in drive.followers} - drives.keys()
        for name, target in targets.items():
            if name in driven:
                raise ValueError(f"joint {name} is driven by a motor and takes no target of its own")
            effort = (max_efforts or {}).get(name, limits[name].effort)
            velocity = (max_velocities or {}).get(name, limits[name].velocity)
            if name in drives:
                drives[name].target, drives[name].effort, drives[name].velocity = target, effort, velocity
            else:
                self._servo(body, name, target, effort, velocity, gain=0.2)

    def _servo(self, body: int, name: str, target: float, effort: float, velocity: float, gain: float) -> None:
        self._call(
            pybullet.setJointMotorControl2,
            body,
            self._bodies[body].joints[name],
            pybullet.POSITION_CONTROL,
            targetPosition=target,
            force=effort,
            maxVelocity=velocity,
            positionGain=gain,
            velocityGain=1.0,
        )

    def couple_joints(self, body: int, couplings: Iterable[Coupling]) -> None:
        """From now on motors move these joints, which are rigidly geared to them: a blocked joint stops all joints of its motor.

        Each joint gives at most its own URDF effort, all joints of a motor together at most the motor's effort limit.
        """
        states, limits = self.joint_states(body), self._bodies[body].limits
        drives: dict[str, Drive] = {}
        for coupling in couplings:
            name = coupling.driver
            if name not in drives:
                start = states[name].position
                drives[name] = Drive({name: Coupling(name, name)}, start, start, limits[name].effort, limits[name].velocity)
            drives[name].followers[coupling.follower] = coupling
        self._drives[body] = drives

    def _drive(self, body: int, drive: Drive) -> None:
        """One time step of a motor, and the servos of its joints set to where it stands."""
        joints, limits = self._bodies[body].joints, self._bodies[body].limits
        states = self._call(pybullet.getJointStates, body, [joints[name] for name in drive.followers])
        positions = {name: state[0] for name, state in zip(drive.followers, states, strict=True)}
        efforts = {name: state[3] for name, state in zip(drive.followers, states, strict=True)}
        drive.advance(positions, efforts, self.time_step)
        for name, coupling in drive.followers.items():
            self._servo(body, name, coupling.position(drive.command), limits[name].effort, np.inf, gain=0.8)

    def attach(self, body: int, T_world_body: Float[np.ndarray, "4 4"], *, max_force: float = 1000.0) -> int:
        """Holds a free body's root at a pose by a stiff mount (an arm's flange); returns it, for `move_mount` and `detach`."""
        T_inertial_body = self._bodies[body].T_inertial_body
        position, quaternion = split_pose(T_inertial_body)
        mount = self._call(
            pybullet.createConstraint,
            body,
            -1,
            -1,
            -1,
            pybullet.JOINT_FIXED,
            [0, 0, 0],
            position,
            list(T_world_body[:3, 3]),
            quaternion,
            split_pose(T_world_body)[1],
        )
        self._call(pybullet.changeConstraint, mount, maxForce=max_force)
        return mount

    def move_mount(self, mount: int, T_world_body: Float[np.ndarray, "4 4"], *, max_force: float = 1000.0) -> None:
        """Moves what `attach` returned."""
        position, quaternion = split_pose(T_world_body)
        self._call(pybullet.changeConstraint, mount, jointChildPivot=position, jointChildFrameOrientation=quaternion, maxForce=max_force)

    def detach(self, mount: int) -> None:
        """Lets go of a body that `attach` holds."""
        self._call(pybullet.removeConstraint, mount)

    def ignore_contacts(self, body: int, other: int, ignored: bool = True) -> None:
        """From now on the two bodies pass through each other, or no longer do."""
        for link in self._bodies[body].links.values():
            for other_link in self._bodies[other].links.values():
                self._call(pybullet.setCollisionFilterPair, body, other, link, other_link, int(not ignored))

    def forget_contacts(self) -> None:
        """Forgets the contacts of bodies that have been taken apart; the plane, far from which nothing is, is made anew (z = 0)."""
        if self.plane is not None:
            self.remove(self.plane)
            self.add_plane()
        self._call(pybullet.performCollisionDetection)

    def ignore_own_overlaps(self, body: int) -> None:
        """From now on those links of a body pass through each other that overlap where it stands, as neighbouring fingers may."""
        links = self._bodies[body].links
        for one, other in {(contact.link_a, contact.link_b) for contact in self.near(body, body, 0.0)}:
            self._call(pybullet.setCollisionFilterPair, body, body, links[one], links[other], 0)

    def contacts(self, body: int, other: int | None = None) -> list[Contact]:
        """Where `body` touched other bodies (or only `other`) in the last step."""
        options = {"bodyA": body} if other is None else {"bodyA": body, "bodyB": other}
        points = self._call(pybullet.getContactPoints, **options) or ()
        return self._as_contacts(point for point in points if point[8] <= _TOUCHING)

    def touching(self, body: int) -> set[int]:
        """Bodies that `body` touched in the last step."""
        points = self._call(pybullet.getContactPoints, bodyA=body) or ()
        return {point[2] for point in points if point[8] <= _TOUCHING} - {body}

    def near(self, body: int, other: int, distance: float) -> list[Contact]:
        """Closest points of the two bodies' links nearer than `distance` (m) where they stand, without stepping. Force is 0."""
        points = self._call(pybullet.getClosestPoints, bodyA=body, bodyB=other, distance=distance)
        return self._as_contacts(points or ())

    def _as_contacts(self, points: Iterable[tuple]) -> list[Contact]:
        names = {body: {index: name for name, index in each.links.items()} for body, each in self._bodies.items()}
        return [Contact(p[1], names[p[1]][p[3]], p[2], names[p[2]][p[4]], np.array(p[6]), np.array(p[7]), p[8], p[9]) for p in points]

    def render(self, camera: Camera, *, lighting: Lighting | None = None, near: float = 0.02, far: float = 20.0) -> Picture:
        """What a pinhole camera sees between `near` and `far` metres, by PyBullet's TinyRenderer (no GPU, no window)."""
        lighting = lighting or Lighting()
        _, _, colour, buffer, bodies = self._call(
            pybullet.getCameraImage,
            camera.width,
            camera.height,
            viewMatrix=view_matrix(camera).T.reshape(-1).tolist(),
            projectionMatrix=projection_matrix(camera, near, far).T.reshape(-1).tolist(),
            lightDirection=list(lighting.direction),
            lightAmbientCoeff=lighting.ambient,
            lightDiffuseCoeff=lighting.diffuse,
            lightSpecularCoeff=lighting.specular,
            shadow=int(lighting.shadow),
            renderer=pybullet.ER_TINY_RENDERER,
        )
        return read_buffers(camera, near, far, colour, buffer, bodies)
