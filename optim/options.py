"""Which ingredients a reconstruction uses: all of them, unless an experiment wants to know what one is worth."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace

from invgraphics.errors import InputError
from optim.ellipsoids import EllipsoidPriors
from optim.mesh_stage import CageWeights
from optim.scene_stage import CoverageWeights
from optim.steppers import FirstOrder, LevenbergMarquardt, Stepper

_HELD = 1e-4
"""Standard deviation, radians, of a rotation that is not to change."""
_ELLIPSOID_RATES = {"centre": 2e-3, "rotation": 0.05, "log_radii": 0.05}
"""Adam's learning rates where it takes the place of Levenberg-Marquardt."""


@dataclass(frozen=True)
class ReconstructionOptions:
    """The ingredients, each of which can be left out."""

    rotation: bool = True
    """Ellipsoids, and the cages built on their frames, turn freely; else their axes are the world's."""
    silhouette: bool = True
    """Outlines count in every stage: ellipsoids, superquadrics, cages; else only depth does (free space still carves)."""
    superquadrics: bool = True
    """Boxes, cylinders, ellipsoids and what lies between are among the hypotheses of the unseen side."""
    symmetry: bool = True
    """Surfaces of revolution are among the hypotheses of the unseen side."""
    hidden_ends: bool = True
    """Long objects go on behind what hides one of their ends; else they stop where the image loses sight of them."""
    support: bool = True
    """Objects stand on the support plane: contact, nothing below it, the shadow down to it. Else the plane is only a background."""
    non_penetration: bool = True
    """Objects keep out of each other: completions share the room, cages push neighbours' surfaces out. Else each is fitted by itself."""
    equilibrium: bool = True
    """Unseen surfaces are bent until forces can hold the scene still; else what leans has gaps to what carries it."""
    cages: bool = True
    """The chosen completion is fitted to the image through its cage; else it stays as it was completed."""
    second_order: bool = True
    """Ellipsoids are fitted by Levenberg-Marquardt; else by as many steps of Adam."""
    appearance: bool = True
    """Materials and lights are estimated; else objects keep their masks' mean colour under white light, without textures."""
    textures: bool = True
    """Vertices are coloured from the image; else each object has one colour."""

    def without(self, names: Iterable[str]) -> "ReconstructionOptions":
        """These options less the named ingredients. Raises `InputError` for a name that is not an ingredient."""
        unknown = [name for name in names if name not in INGREDIENTS]
        if unknown:
            raise InputError(f"there is no ingredient {', '.join(unknown)}; the ingredients are {', '.join(INGREDIENTS)}")
        return replace(self, **dict.fromkeys(names, False))

    @property
    def left_out(self) -> tuple[str, ...]:
        """Names of the ingredients that are left out."""
        return tuple(name for name, used in asdict(self).items() if not used)

    def ellipsoid_priors(self) -> EllipsoidPriors:
        """For both ellipsoid stages."""
        priors = EllipsoidPriors()
        if not self.rotation:
            priors = replace(priors, axis_aligned=True, rotation_spread=_HELD)
        return priors if self.silhouette else replace(priors, effective_outline=0.0)

    def coverage_weights(self) -> CoverageWeights:
        """Of the silhouette in stage one."""
        return CoverageWeights() if self.silhouette else CoverageWeights(effective_samples=0.0)

    def cage_weights(self) -> CageWeights:
        """Of the terms of stage two."""
        return CageWeights() if self.silhouette else CageWeights(silhouette=0.0)

    def ellipsoid_stepper(self) -> Stepper:
        """For both ellipsoid stages."""
        return LevenbergMarquardt(tolerance=1e-4) if self.second_order else FirstOrder(_ELLIPSOID_RATES)


INGREDIENTS = tuple(field.name for field in fields(ReconstructionOptions))
"""What `without` takes."""
