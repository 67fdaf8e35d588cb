"""The part of a physics world that trials need, by MuJoCo: a second opinion on PyBullet, and faster. The only file that knows MuJoCo.

Same conventions as `grasp_sim.world`. Bodies are compiled into one model at the first step or question, so add all of them first. What is
removed is only parked and comes back at once when the same file is added again. Friction between a hand or the plane and an object is the
product of theirs as in Bullet; between two objects it is the larger of theirs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import mujoco
import numpy as np
from jaxtyping import Float

from grasp_sim.drives import Coupling, Drive
from grasp_sim.poses import invert_pose, split_pose
from grasp_sim.records import DEFAULT_DENSITY, DEFAULT_FRICTION, GRAVITY, Contact, JointState
from grasp_sim.solids import COLLISION_MARGIN, Solid

_LOOK_AHEAD = 1e-3
"""Metres beyond touching at which `near` still sees."""
_CARRIAGE = 1e4
"""Kilograms of what carries a hand: nothing pushes it off its way."""
_OBJECT = "object"
"""How names of objects begin."""
_STIFFNESS = 0.8
"""Share of its error that a servo undoes in a time step."""
_CONTACT_TIME = 0.01
"""Seconds in which a contact's overlap is undone."""
_CONTACT_IMPEDANCE = (0.98, 0.999, 1e-3)
"""MuJoCo's solimp: at touching, at full width, and that width in metres. With its default, 0.9 to 0.95, fingers sink millimetres into
what is light."""
_WELD_TIME = 0.009
"""The same of a mount; MuJoCo asks for two time steps or more."""


@dataclass
class _Body:
    """What belongs to one body."""

    name: str
    path: Path | None = None
    """Of its URDF, for a hand."""
    friction: float = 1.0
    spinning: float = 0.0
    """Torsional coefficient, metres."""
    ignored: set[int] = field(default_factory=set)
    """Bodies that it passes through."""
    joints: dict[str, int] = field(default_factory=dict)
    """Index into the actuators, by joint."""
    parked: bool = False
    mounted: bool = False
    T_wanted: np.ndarray = field(default_factory=lambda: np.eye(4))
    """Where its mount, or `set_pose`, has it."""
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(3))
    """Of a hand's mount, m/s."""


class MujocoWorld:
    """A simulated world of its own with the methods that `grasp_sim.engines.TrialWorld` lists."""

    def __init__(self, *, time_step: float = 1 / 240, gravity: float = GRAVITY):
        """An empty world; `time_step` in seconds, `gravity` in m/s^2 along -z."""
        self._spec = mujoco.MjSpec()
        option = self._spec.option
        option.timestep, option.gravity = time_step, [0, 0, -gravity]
        option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
        option.cone, option.impratio = mujoco.mjtCone.mjCONE_ELLIPTIC, 10.0
        self.time_step, self.time = time_step, 0.0
        self.plane: int | None = None
        self._bodies: list[_Body] = []
        self._drives: dict[int, dict[str, Drive]] = {}
        self._speeds: dict[tuple[int, str], float] = {}
        self._disentangled: set[int] = set()
        self._unsettled = False
        self._model: mujoco.MjModel | None = None
        self._stale = True

    def __enter__(self) -> "MujocoWorld":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is held that must be freed."""

    def add_plane(self, *, friction: float = 1.0) -> int:
        """An immovable plane z = 0, solid below."""
        geom = self._spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_PLANE, size=[5, 5, 0.1], name=f"plane_{len(self._bodies)}")
        geom.gap = _LOOK_AHEAD / 2
        self.plane = self._register(_Body(geom.name, friction=friction))
        return self.plane

    def add_mesh(
        self,
        mesh: Solid,
        T_world_body: Float[np.ndarray, "4 4"],
        *,
        density: float = DEFAULT_DENSITY,
        friction: float = DEFAULT_FRICTION,
        drawn: bool = False,
    ) -> int:
        """A solid of uniform `density` (kg/m^3) that collides as its convex pieces; nothing is ever drawn."""
        name = f"{_OBJECT}_{len(self._bodies)}"
        body = self._spec.worldbody.add_body(name=name)
        body.add_freejoint()
        position, quaternion = split_pose(mesh.T_body_inertial)
        body.explicitinertial, body.mass = True, density * mesh.volume
        body.inertia, body.ipos, body.iquat = density * mesh.unit_inertia, position, _wxyz(quaternion)
        for k, piece in enumerate(mesh.pieces):
            part = self._spec.add_mesh(name=f"{name}_{k}")
            part.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL
            part.uservert, part.userface = piece.vertices.ravel().tolist(), piece.faces.ravel().tolist()
            geom = body.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=part.name, condim=4, priority=1)
            geom.margin, geom.gap = COLLISION_MARGIN, _LOOK_AHEAD / 2
            geom.solref[0], geom.solimp[:3] = _CONTACT_TIME, _CONTACT_IMPEDANCE
        mount = self._spec.add_equality(type=mujoco.mjtEq.mjEQ_WELD, name=name, name1=name, objtype=mujoco.mjtObj.mjOBJ_BODY)
        mount.active, mount.solref[0], mount.solimp[:3] = False, _WELD_TIME, [0.99, 0.999, 1e-4]
        return self._register(_Body(name, friction=friction, T_wanted=T_world_body))

    def add_urdf(self, path: str | Path, T_world_base: Float[np.ndarray, "4 4"], *, self_collision: bool = False) -> int:
        """A hand from a URDF file, its root link frame at `T_world_base`; it moves only as its mount does."""
        for index, parked in enumerate(self._bodies):
            if parked.parked and parked.path == Path(path):
                parked.parked = False
                self._drives.pop(index, None)
                self.set_pose(index, T_world_base)
                self._set_affinities()
                return index
        name = f"hand_{len(self._bodies)}"
        carriage = self._spec.worldbody.add_body(name=name)
        for axis in np.eye(3):
            carriage.add_joint(type=mujoco.mjtJoint.mjJNT_SLIDE, axis=axis, armature=_CARRIAGE)
        hand = mujoco.MjSpec.from_file(str(path))
        hand.compiler.balanceinertia = True
        turned = carriage.add_body(name=f"{name}_root")
        turned.add_frame().attach_body(hand.worldbody.first_body(), f"{name}/", "")
        for geom in turned.find_all(mujoco.mjtObj.mjOBJ_GEOM):
            geom.gap = _LOOK_AHEAD / 2
        body = _Body(name, Path(path), T_wanted=T_world_base)
        for joint in turned.find_all(mujoco.mjtObj.mjOBJ_JOINT):
            body.joints[joint.name.removeprefix(f"{name}/")] = len(self._spec.actuators)
            actuator = self._spec.add_actuator(name=joint.name, target=joint.name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
            actuator.biastype = mujoco.mjtBias.mjBIAS_AFFINE
            actuator.forcelimited, actuator.forcerange = True, joint.actfrcrange
        if not self_collision:
            body.ignored.add(len(self._bodies))
        return self._register(body)

    def _register(self, body: _Body) -> int:
        self._bodies.append(body)
        self._model = None
        return len(self._bodies) - 1

    def _compiled(self) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """Model and data of all bodies where they belong."""
        if self._model is None:
            self._model = self._spec.compile()
            self._speeds = {}
            self._data = mujoco.MjData(self._model)
            roots = {self._model.body(body.name).id: index for index, body in enumerate(self._bodies) if index != self.plane}
            self._owner = np.array([roots.get(self._model.body_rootid[part], -1) for part in self._model.geom_bodyid])
            if self.plane is not None:
                self._owner[self._model.geom(self._bodies[self.plane].name).id] = self.plane
            self._set_affinities()
            self._set_frictions()
            self._place_all()
        return self._model, self._data

    def _place_all(self) -> None:
        """Every body where it belongs, at rest."""
        for index, body in enumerate(self._bodies):
            if index != self.plane:
                self.set_pose(index, body.T_wanted)
                self._weld(body)

    def _set_affinities(self) -> None:
        """Each body is a bit; geoms meet where one's bit is among the other's. MuJoCo keeps the bits of its bodies, too."""
        if self._model is None:
            return
        model = self._model
        for index, body in enumerate(self._bodies):
            others = [
                k for k, other in enumerate(self._bodies) if k not in body.ignored and index not in other.ignored and not other.parked
            ]
            mine = self._owner == index
            parts = np.unique(model.geom_bodyid[mine])
            model.geom_contype[mine] = model.body_contype[parts] = 0 if body.parked else 1 << index
            model.geom_conaffinity[mine] = model.body_conaffinity[parts] = 0 if body.parked else sum(1 << k for k in others)
        self._stale = True

    def _set_frictions(self) -> None:
        """Objects decide (their priority is higher): the product with the hand's, against the plane as well."""
        if self._model is None:
            return
        hand = next((body for body in self._bodies if body.path is not None and not body.parked), None)
        for index, body in enumerate(self._bodies):
            sliding = body.friction * (hand.friction if hand is not None and body.path is None else 1.0)
            spinning = body.friction * hand.spinning if hand is not None else body.spinning
            self._model.geom_friction[self._owner == index, :2] = sliding, max(spinning, 1e-5)

    def set_friction(self, body: int, friction: float, *, spinning: float = 0.0) -> None:
        """Changes the friction of a body; `spinning` is the torsional coefficient in metres."""
        self._bodies[body].friction, self._bodies[body].spinning = friction, spinning
        self._set_frictions()

    def set_mass(self, body: int, mass: float, moments: Float[np.ndarray, "3"]) -> None:
        """Changes mass (kg) and principal moments of inertia (kg m^2). Call it before poses are set."""
        model, _ = self._compiled()
        index = model.body(self._bodies[body].name).id
        model.body_mass[index], model.body_inertia[index] = mass, moments
        described = self._spec.body(self._bodies[body].name)
        described.mass, described.inertia = mass, moments
        self._unsettled = self._stale = True

    def remove(self, body: int) -> None:
        """Parks a body: nothing meets it any more."""
        self._bodies[body].parked = True
        self._set_affinities()

    def ignore_contacts(self, body: int, other: int, ignored: bool = True) -> None:
        """From now on the two bodies pass through each other, or no longer do."""
        (self._bodies[body].ignored.add if ignored else self._bodies[body].ignored.discard)(other)
        (self._bodies[other].ignored.add if ignored else self._bodies[other].ignored.discard)(body)
        self._set_affinities()

    def forget_contacts(self) -> None:
        """Nothing is left of the steps before."""
        model, data = self._compiled()
        mujoco.mj_resetData(model, data)
        self._place_all()

    def ignore_own_overlaps(self, body: int) -> None:
        """From now on those links of a body pass through each other that overlap with all joints at 0, as neighbouring fingers may."""
        if body in self._disentangled:
            return
        self._disentangled.add(body)
        model, data = self._compiled()
        state, commands = data.qpos.copy(), data.ctrl.copy()
        data.qpos[[model.jnt_qposadr[model.actuator_trnid[index, 0]] for index in self._bodies[body].joints.values()]] = 0
        self._stale = True
        self._look()
        pairs = set()
        for contact in data.contact:
            if contact.dist < 0 and self._owner[contact.geom1] == body == self._owner[contact.geom2]:
                pairs.add(tuple(sorted(model.body(model.geom_bodyid[geom]).name for geom in contact.geom)))
        for one, other in sorted(pairs):
            self._spec.add_exclude(bodyname1=one, bodyname2=other)
        self._model = None if pairs else model
        _, data = self._compiled()
        data.qpos[:], data.ctrl[:] = state, commands
        self._stale = True

    def set_pose(self, body: int, T_world_body: Float[np.ndarray, "4 4"]) -> None:
        """Puts a body somewhere, at rest."""
        each = self._bodies[body]
        each.T_wanted, each.velocity = T_world_body.copy(), np.zeros(3)
        if self._model is None or body == self.plane:
            return
        position, quaternion = split_pose(T_world_body)
        place, speed = self._addresses(body)
        if each.path is None:
            self._data.qpos[place : place + 7] = [*position, *_wxyz(quaternion)]
            self._data.qvel[speed : speed + 6] = 0
        else:
            self._data.qpos[place : place + 3] = position
            self._data.qvel[speed : speed + 3] = 0
            self._model.body_quat[self._model.body(f"{each.name}_root").id] = _wxyz(quaternion)
        self._stale = True

    def _addresses(self, body: int) -> tuple[int, int]:
        """Of a body's first position and velocity."""
        joint = self._model.body_jntadr[self._model.body(self._bodies[body].name).id]
        return int(self._model.jnt_qposadr[joint]), int(self._model.jnt_dofadr[joint])

    def centre_of_mass(self, body: int) -> Float[np.ndarray, "3"]:
        """Of an object, world frame, metres."""
        model, data = self._compiled()
        place, _ = self._addresses(body)
        turned = np.zeros(3)
        mujoco.mju_rotVecQuat(turned, model.body_ipos[model.body(self._bodies[body].name).id], data.qpos[place + 3 : place + 7])
        return data.qpos[place : place + 3] + turned

    def attach(self, body: int, T_world_body: Float[np.ndarray, "4 4"]) -> int:
        """Holds a body at a pose by a stiff mount; returns it, for `move_mount` and `detach`."""
        self._bodies[body].mounted = True
        self.move_mount(body, T_world_body)
        return body

    def move_mount(self, mount: int, T_world_body: Float[np.ndarray, "4 4"]) -> None:
        """Moves what `attach` returned; a hand keeps its turn."""
        each = self._bodies[mount]
        each.velocity = (T_world_body[:3, 3] - each.T_wanted[:3, 3]) / self.time_step
        each.T_wanted = T_world_body.copy()
        self._weld(each)

    def detach(self, mount: int) -> None:
        """Lets go of an object that `attach` holds."""
        self._bodies[mount].mounted = False
        self._weld(self._bodies[mount])

    def _weld(self, body: _Body) -> None:
        """Holds an object where its mount is, if it has one; a hand has its carriage."""
        if self._model is None or not body.name.startswith(_OBJECT):
            return
        weld, T = self._model.equality(body.name).id, body.T_wanted
        self._model.eq_data[weld, :11] = [*T[:3, 3], 0, 0, 0, *_wxyz(split_pose(invert_pose(T))[1]), 1]
        self._data.eq_active[weld] = body.mounted

    def couple_joints(self, body: int, couplings: Iterable[Coupling]) -> None:
        """From now on motors move these joints; see `grasp_sim.world.World.couple_joints`."""
        model, _ = self._compiled()
        drives: dict[str, Drive] = {}
        limits = {name: float(model.actuator_forcerange[index, 1]) for name, index in self._bodies[body].joints.items()}
        couplings = tuple(couplings)
        followers = {coupling.follower for coupling in couplings if coupling.follower != coupling.driver}
        for name in self._bodies[body].joints.keys() - followers:
            drives[name] = Drive({name: Coupling(name, name)}, 0.0, 0.0, limits[name], 1.0)
        for coupling in couplings:
            drives[coupling.driver].followers[coupling.follower] = coupling
        self._drives[body] = dict(sorted(drives.items()))

    def set_joint_positions(self, body: int, positions: Mapping[str, float]) -> None:
        """Puts motors and all joints that they drive somewhere, at rest."""
        model, data = self._compiled()
        for name, position in positions.items():
            drive = self._drives[body][name]
            drive.command = drive.target = position
            for joint, coupling in drive.followers.items():
                part = model.joint(f"{self._bodies[body].name}/{joint}").id
                data.qpos[model.jnt_qposadr[part]] = data.ctrl[self._bodies[body].joints[joint]] = coupling.position(position)
                data.qvel[model.jnt_dofadr[part]] = 0.0
        self._stale = True

    def set_joint_targets(
        self, body: int, targets: Mapping[str, float], *, max_efforts: Mapping[str, float], max_velocities: Mapping[str, float]
    ) -> None:
        """Each motor moves towards its target with at most its effort and velocity, and holds it."""
        self._compiled()
        for name, target in targets.items():
            drive = self._drives[body][name]
            drive.target, drive.effort, drive.velocity = target, max_efforts[name], max_velocities[name]
            if drive.velocity > self._speeds.get((body, name), 0.0):
                self._speeds[body, name] = drive.velocity
                for joint in drive.followers:
                    self._tune(self._bodies[body].joints[joint], drive.velocity)

    def _tune(self, actuator: int, velocity: float) -> None:
        """A joint's servo: its gear's inertia is what its effort brings to full speed in a time step; nearly critically damped."""
        model, step = self._model, self.time_step
        inertia = model.actuator_forcerange[actuator, 1] * step / velocity
        model.dof_armature[model.jnt_dofadr[model.actuator_trnid[actuator, 0]]] = inertia
        stiffness, damping = _STIFFNESS * inertia / step**2, inertia / step
        model.actuator_gainprm[actuator, 0] = stiffness
        model.actuator_biasprm[actuator, 1:3] = -stiffness, -damping
        self._unsettled = True

    def _settle_constants(self) -> None:
        """Renews what MuJoCo derives from masses and inertias, in data of its own, for it moves what it works with."""
        if self._unsettled:
            mujoco.mj_setConst(self._model, mujoco.MjData(self._model))
            self._set_affinities()
            for body in self._bodies:
                self._weld(body)
            self._unsettled = False

    def joint_states(self, body: int) -> dict[str, JointState]:
        """State of every movable joint."""
        model, data = self._compiled()
        states = {}
        for name, index in self._bodies[body].joints.items():
            part = model.actuator_trnid[index, 0]
            place, speed = model.jnt_qposadr[part], model.jnt_dofadr[part]
            states[name] = JointState(float(data.qpos[place]), float(data.qvel[speed]), float(data.actuator_force[index]))
        return states

    def step(self, count: int = 1) -> None:
        """Advances `count` time steps; coupled joints follow their motors, a hand its mount."""
        model, data = self._compiled()
        self._settle_constants()
        for _ in range(count):
            for index, drives in self._drives.items():
                if self._bodies[index].parked:
                    continue
                self._drive(index, drives)
                self._carry(index)
            mujoco.mj_step(model, data)
        self.time += count * self.time_step
        self._stale = False

    def _drive(self, body: int, drives: dict[str, Drive]) -> None:
        states = self.joint_states(body)
        for drive in drives.values():
            positions = {name: states[name].position for name in drive.followers}
            efforts = {name: states[name].effort for name in drive.followers}
            drive.advance(positions, efforts, self.time_step)
            for name, coupling in drive.followers.items():
                self._data.ctrl[self._bodies[body].joints[name]] = coupling.position(drive.command)

    def _carry(self, body: int) -> None:
        """The hand's carriage is where the mount was and moves so that it will be where the mount is."""
        each = self._bodies[body]
        place, speed = self._addresses(body)
        self._data.qpos[place : place + 3] = each.T_wanted[:3, 3] - each.velocity * self.time_step
        self._data.qvel[speed : speed + 3] = each.velocity
        each.velocity = np.zeros(3)

    def _look(self) -> None:
        """Finds contacts where the bodies stand, unless the last step did."""
        if self._stale:
            model, data = self._compiled()
            mujoco.mj_kinematics(model, data)
            mujoco.mj_comPos(model, data)
            mujoco.mj_collision(model, data)
            self._stale = False

    def contacts(self, body: int, other: int | None = None) -> list[Contact]:
        """Where `body` touched other bodies (or only `other`) in the last step."""
        return [contact for contact in self._contacts(body, other, 0.0) if contact.body_b != body]

    def near(self, body: int, other: int, distance: float) -> list[Contact]:
        """Where two bodies are nearer than `distance` (m, at most 1 mm) where they stand, without stepping."""
        self._look()
        return self._contacts(body, other, distance)

    def _contacts(self, body: int, other: int | None, distance: float) -> list[Contact]:
        model, data = self._compiled()
        found, force = [], np.zeros(6)
        owners = self._owner[data.contact.geom]
        for k in np.flatnonzero((owners == body).any(1)):
            one, two = (int(owner) for owner in owners[k])
            partner = two if one == body else one
            contact = data.contact[int(k)]
            gap = float(contact.dist) - (COLLISION_MARGIN if self._is_object(body) or self._is_object(partner) else 0.0)
            if (other is not None and partner != other) or gap >= distance:
                continue
            mujoco.mj_contactForce(model, data, int(k), force)
            names = [model.body(model.geom_bodyid[geom]).name for geom in contact.geom]
            first, second = names if one == body else names[::-1]
            normal = contact.frame[:3] * (-1.0 if one == body else 1.0)
            found.append(Contact(body, first, partner, second, contact.pos.copy(), normal.copy(), gap, float(force[0])))
        return found

    def _is_object(self, body: int) -> bool:
        return body != self.plane and self._bodies[body].path is None

    def touching(self, body: int) -> set[int]:
        """Bodies that `body` touched in the last step."""
        _, data = self._compiled()
        owners = self._owner[data.contact.geom]
        mine = (owners == body).any(1) & (data.contact.efc_address >= 0)
        return set(owners[mine].ravel().tolist()) - {body}


def _wxyz(quaternion: Sequence[float]) -> list[float]:
    """MuJoCo's order."""
    x, y, z, w = quaternion
    return [w, x, y, z]
