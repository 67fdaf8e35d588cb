"""What the documentation site makes of the packages: a page of reference for each, from the docstrings, whatever modules there are."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PACKAGES = ("invgraphics", "renderers", "optim", "grasp_sim", "robot")
LEFT_OUT = ("invgraphics/commands", "robot/standins")
"""The command line, which `--help` documents, and devices that only tests talk to."""
MEASURED = ("ablations", "robustness", "scaling")
"""What `make` writes to a page of that name."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Lists the pages under "Reference", and under "About" what benchmarks have written, both behind what is written by hand."""
    sections = {name: pages for entry in config.nav for name, pages in entry.items()}
    sections["Reference"] += [{name: f"reference/{name}.md"} for name in _find_packages()]
    sections["About"] += [{name.capitalize(): f"{name}.md"} for name in MEASURED if (ROOT / "docs" / f"{name}.md").is_file()]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages."""
    packages = _find_packages()
    for name, folder in packages.items():
        inside = [other for other in packages if other.rpartition(".")[0] == name]
        files.append(File.generated(config, f"reference/{name}.md", content=_write_page(name, folder, inside)))
    return files


def _find_packages() -> dict[str, Path]:
    """Folders by dotted name: each package, followed by the packages in it."""
    found = {}
    for package in PACKAGES:
        for folder in [ROOT / package, *sorted(path.parent for path in (ROOT / package).glob("*/__init__.py"))]:
            path = folder.relative_to(ROOT)
            if path.as_posix() not in LEFT_OUT:
                found[".".join(path.parts)] = folder
    return found


def _write_page(name: str, folder: Path, inside: list[str]) -> str:
    """The package's own docstring, links to the packages in it, and its modules."""
    modules = [path for path in sorted(folder.glob("*.py")) if not path.stem.startswith("_") and not path.stem.endswith("kernels")]
    links = "".join(f"- [`{other}`]({other}.md)\n" for other in inside)
    parts = [f"# {name}\n\n{_first_sentence(folder / '__init__.py')}\n\n{links}"]
    parts += [f"::: {name}.{path.stem}\n" for path in modules]
    return "\n".join(parts)


def _first_sentence(path: Path) -> str:
    """Of a module's docstring; empty where it has none."""
    text = path.read_text()
    return text.split('"""')[1].strip().split("\n\n")[0] if text.startswith('"""') else ""
