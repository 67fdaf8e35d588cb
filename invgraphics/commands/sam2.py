"""`invgraphics sam2 CHECKPOINT.pt --out FOLDER`: one of Meta's SAM 2 checkpoints as the folder that `--sam2` takes."""

import argparse
from pathlib import Path

from invgraphics.segment.sam2_conversion import convert_checkpoint


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument(
        "checkpoint", type=Path, metavar="CHECKPOINT", help="sam2.1_hiera_tiny.pt, ..._small.pt, ..._base_plus.pt, ..._large.pt"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write; must not exist")


def run(arguments: argparse.Namespace) -> int:
    """Converts and says where."""
    convert_checkpoint(arguments.checkpoint, arguments.out)
    print(f"wrote {arguments.out}; use it as --sam2 {arguments.out}")
    return 0
