# Two commands do everything on a fresh machine: `make demo` and `make test`. Both make .venv themselves.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check lint types imports bench docs pictures clean

.venv/.demo-ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

.venv/.ready: .venv/.demo-ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .[dev]
	touch $@

demo: .venv/.demo-ready  ## world -> ingest -> split -> pretrain -> probe -> report, on the embedded apron
	$(BIN)/unseen demo --out .demo

test: .venv/.ready  ## the whole test suite
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal --quiet

lint: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.ready
	$(BIN)/mypy

imports: .venv/.ready
	$(BIN)/lint-imports

check: lint types imports test

bench: .venv/.ready  ## ratios against the peers; `make bench MAE=path/to/facebookresearch-mae` adds the official code
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.step $(if $(MAE),--mae $(MAE))
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.camera
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.masks

docs: .venv/.ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .[docs]
	$(BIN)/mkdocs build --strict --site-dir site

pictures: .venv/.ready  ## the pictures of the README, made by the project's own code from the demo's run
	$(BIN)/python -m unseen.report.pictures docs/pictures --run .demo/run

clean:
	rm -rf .venv .demo site build *.egg-info
