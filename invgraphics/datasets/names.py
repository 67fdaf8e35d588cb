"""How the images of a set are called, on the command line and in output folders."""

from invgraphics.errors import InputError


def name_image(scene: str, number: int, alone: bool) -> str:
    """What outputs call an image: its scene; with the image's number where the scene has more than one."""
    flat = scene.replace("/", "_")
    return flat if alone else f"{flat}_{number:06d}"


def choose_scene(names: list[str], wanted: str, where: str) -> str:
    """The scene of a name, whether its number is written with leading zeros or not.

    Raises:
        InputError: there is none.
    """
    for name in names:
        if name == wanted or (name.isdigit() and wanted.isdigit() and int(name) == int(wanted)):
            return name
    raise InputError(f"{where} has no scene {wanted}; it has {abbreviate(names)}")


def choose_number(numbers: list[int], wanted: str, where: str) -> int:
    """The image of a number in digits. Raises `InputError` where there is none."""
    if wanted.isdigit() and int(wanted) in numbers:
        return int(wanted)
    raise InputError(f"{where} has no image {wanted}; it has {abbreviate([str(number) for number in numbers])}")


def abbreviate(names: list[str]) -> str:
    """A list for a message: all of a few names, the first and the last of many."""
    return (", ".join(names) or "none") if len(names) <= 6 else f"{', '.join(names[:3])}, ... {names[-1]}"
