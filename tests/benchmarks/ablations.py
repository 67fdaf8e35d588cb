"""What each ingredient of the reconstruction is worth: a set evaluated with all of them, then without one at a time.

    python -m tests.benchmarks.ablations ../shared/data/tabletop_dev --out out/ablations [--scenes 1 14] [--markdown docs/ablations.md]

Each run is `invgraphics evaluate DATASET --without INGREDIENT` into a folder of its own, so an interrupted run goes on where it was.
Objects are compared one by one: `worse` and `better` count those whose Chamfer distance rises or falls by more than 0.2 mm without the
ingredient, and the mean difference is given with its standard error.
"""

import argparse
import json
import math
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

from invgraphics.cli import main as invgraphics
from invgraphics.commands.executors import describe_machine
from invgraphics.output import write_json
from optim.options import INGREDIENTS
from tests.benchmarks.tables import format_table, write_markdown

NOTICED_MM = 0.2
_SHAPE = {"cd_l1_mm": "CD mm", "f5": "F@5", "f10": "F@10", "nc": "NC", "iou": "IoU", "silhouette_iou": "silh. %", "depth_mm": "depth mm"}
_LOOK = {"colour_psnr_db": "colour dB"}
_ELLIPSOIDS = {"ellipsoid_loss": "ellipsoids' loss", "ellipsoid_seconds": "ellipsoids' s"}


def main() -> None:
    """Runs what is not there yet, writes `ablations.json` and the table."""
    arguments = _parse()
    names = arguments.ingredients or list(INGREDIENTS)
    runs = {name: _evaluate(arguments, name) for name in ("nothing", *names)}
    rows = {
        name: {**describe_ablation(results, runs["nothing"]), **describe_ellipsoids(arguments.out / name)} for name, results in runs.items()
    }
    facts = {"dataset": arguments.dataset, "seed": arguments.seed, **describe_machine()}
    write_json(arguments.out / "ablations.json", {**facts, "rows": rows})
    table = build_table(rows)
    print(table)
    if arguments.markdown:
        count = runs["nothing"]["count"]
        said = [
            f"`{Path(arguments.dataset).name}`, {count} objects, seed {arguments.seed}: means with every ingredient, then without one at "
            "a time (`invgraphics evaluate DATASET --without NAME`; what the names mean: `optim/options.py`).",
            "Ellipsoids' loss and s: where the ellipsoids' objective ended (without the silhouette it has fewer terms) and the seconds of "
            "both of their stages, medians over images.",
            "Change: of the Chamfer distance of the same object, mean and standard error, mm. Worse, better: objects whose Chamfer "
            f"distance rises or falls by more than {NOTICED_MM} mm when the ingredient is left out.",
        ]
        write_markdown(arguments.markdown, "Ablations", said, table)


def describe_ablation(results: dict[str, Any], reference: dict[str, Any]) -> dict[str, Any]:
    """Means of one run, and its objects' Chamfer distances less those of the run with everything."""
    changes = _pair(results, reference)
    return {
        **{key: _number(results["mean"][key]) for key in (*_SHAPE, *_LOOK)},
        "stable": _number(results["shares"]["stable"]),
        "missing": results["missing"],
        "seconds_per_image": _number(results["seconds_per_image"]["mean"]),
        "change_mm": fmean(changes) if changes else math.nan,
        "change_error_mm": stdev(changes) / math.sqrt(len(changes)) if len(changes) > 1 else math.nan,
        "worse": sum(change > NOTICED_MM for change in changes),
        "better": sum(change < -NOTICED_MM for change in changes),
    }


def describe_ellipsoids(out: Path) -> dict[str, float]:
    """Where the ellipsoids of a run in the folder `out` ended: their objective, and the seconds they took, medians over the images."""
    images = [json.loads(path.read_text()) for path in sorted(out.glob("*/metrics.json"))]
    losses = [stage["loss"]["total"][-1] for image in images for stage in image["stages"] if stage["stage"] == "ellipsoids"]
    seconds = [image["seconds"]["ellipsoids"] + image["seconds"]["ellipsoids to image"] for image in images]
    return {"ellipsoid_loss": median(losses), "ellipsoid_seconds": median(seconds)}


def build_table(rows: dict[str, dict[str, Any]]) -> str:
    """As Markdown, a row for each ingredient left out."""
    header = ["without", *_SHAPE.values(), *_LOOK.values(), "stable %", "change mm", "worse", "better", *_ELLIPSOIDS.values(), "s/image"]
    cells = []
    for name, row in rows.items():
        change = "" if name == "nothing" else f"{row['change_mm']:+.2f} ± {row['change_error_mm']:.2f}"
        counts = ["", ""] if name == "nothing" else [row["worse"], row["better"]]
        cells.append(
            [
                name,
                *(row[key] for key in (*_SHAPE, *_LOOK)),
                row["stable"],
                change,
                *counts,
                *(row[key] for key in _ELLIPSOIDS),
                row["seconds_per_image"],
            ]
        )
    return format_table(header, cells)


def _evaluate(arguments: argparse.Namespace, name: str) -> dict[str, Any]:
    out = arguments.out / name
    words = ["evaluate", arguments.dataset, "--out", str(out), "--seed", str(arguments.seed)]
    words += [] if name == "nothing" else ["--without", name]
    words += ["--scenes", *arguments.scenes] if arguments.scenes else []
    words += ["--workers", str(arguments.workers)] if arguments.workers else []
    words += ["--overwrite"] if arguments.overwrite else []
    print(f"without {name}", flush=True)
    code = invgraphics(words)
    if code == 2:
        raise SystemExit(code)
    return json.loads((out / "results.json").read_text())


def _pair(results: dict[str, Any], reference: dict[str, Any]) -> list[float]:
    """Differences of the Chamfer distances, mm, of the objects that both runs have."""
    before = {(row["image"], row["mask_index"]): row["cd_l1_mm"] for row in reference["objects"]}
    pairs = [(row["cd_l1_mm"], before.get((row["image"], row["mask_index"]))) for row in results["objects"]]
    return [now - then for now, then in pairs if now is not None and then is not None]


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="as `invgraphics evaluate` takes it")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--scenes", nargs="+")
    parser.add_argument("--ingredients", nargs="+", choices=INGREDIENTS, metavar="NAME", help=f"of {', '.join(INGREDIENTS)}; default all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--overwrite", action="store_true", help="do every run anew, for instance after the code has changed")
    parser.add_argument("--markdown", type=Path, help="page to write the table to")
    return parser.parse_args()


if __name__ == "__main__":
    main()
