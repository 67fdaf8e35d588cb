PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATASET ?= ../shared/data/tabletop_dev

.PHONY: install test demo docs bench ablations robustness scaling lint clean

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# The same examples every time: a rare one that fails is for whoever runs pytest by hand, not for somebody else's change.
test: install
	$(BIN)/python -m pytest --hypothesis-profile=ci -n 2 --dist loadfile -m "not realtime"
	$(BIN)/python -m pytest --hypothesis-profile=ci tests/robot -m realtime

demo: install
	$(BIN)/invgraphics demo --out demo_out --overwrite

docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

bench: install
	$(BIN)/python -m tests.benchmarks.rendering --out out/rendering.json --plot docs/rendering_benchmark.svg

ablations: install
	$(BIN)/python -m tests.benchmarks.ablations $(DATASET) --out out/ablations --markdown docs/ablations.md

robustness: install
	$(BIN)/python -m tests.benchmarks.robustness $(DATASET) --out out/robustness --markdown docs/robustness.md

scaling: install
	$(BIN)/python -m tests.benchmarks.scaling --out out/scaling --markdown docs/scaling.md

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf $(VENV) build dist *.egg-info demo_out
