# One environment in .venv, made by the first target that needs it.  Needs Python 3.10 or later with venv, and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The environment with rdagent and qlib: only `make research` and the tests that compare with the real packages use it.
RESEARCH := .environments/research
# The environment with MLflow, Spark, Ray and qlib: only tests/runtime/adapters uses it.
ADAPTERS := .environments/adapters
# uv, which makes the locks.
LOCKS := .environments/uv
# The oldest onnxruntime that the runtime admits: what the gate of graphs lets pass runs there too.
OLDEST := .environments/onnxruntime-oldest
export PYTHONDONTWRITEBYTECODE := 1

.PHONY: demo test test-fast coverage check bench fidelity ledger gauntlet cases fuzz mutants attacks matrix locks schemas completions fixtures research adapters format clean
.DEFAULT_GOAL := test

$(VENV)/.ready: tools/bootstrap.py requirements/development.txt runtime/pyproject.toml converter/pyproject.toml
	@$(PYTHON) tools/bootstrap.py $(VENV)

# The other families' own libraries judge their numbers; only the tests and `make fidelity` need them.
$(VENV)/.families: $(VENV)/.ready requirements/families.txt requirements/torch.txt
	@$(BIN)/python tools/bootstrap.py $(VENV) --add requirements/families.txt --unhashed requirements/torch.txt

demo: $(VENV)/.ready
	@$(BIN)/python tools/demo.py

test: check $(VENV)/.families $(OLDEST)/.ready
	@$(BIN)/python tools/run_tests.py

# For the inner loop: the tests of modules' own rules, nothing that starts programs or builds a bundle of a real task.
test-fast: $(VENV)/.families
	@$(BIN)/python tools/run_tests.py --fast

# How many lines of both packages the fast tests reach; ends with 1 below the threshold of tools/run_tests.py.
coverage: $(VENV)/.families
	@$(BIN)/python tools/run_tests.py --coverage

check: $(VENV)/.ready
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q tests/test_architecture.py
	@$(BIN)/python tools/core.py
	@$(BIN)/python tools/wings.py

fidelity: $(VENV)/.families
	@$(BIN)/python tools/fidelity.py

# What predict of every supported class reads, over the libraries of three times; makes their environments.
ledger: $(VENV)/.families
	@$(BIN)/python tools/ledger.py --all

# A thousand wrong and a thousand right live tables against bundles of the small market.
gauntlet: $(VENV)/.families
	@$(BIN)/python tools/run_gauntlet.py --count 1000

fuzz: $(VENV)/.ready $(OLDEST)/.ready
	@$(BIN)/python tools/fuzz.py --count 1000000
	@$(BIN)/python tools/fuzz_gate.py --count 50000 --python $(BIN)/python --python $(OLDEST)/bin/python
	@$(BIN)/python tools/fuzz_factors.py --count 5000 --python $(RESEARCH)/bin/python
	@ALPHASEAL_MUTATIONS=20000 $(BIN)/python -m pytest -q tests/runtime/gate/test_model_mutations.py

$(OLDEST)/.ready: requirements/onnxruntime-oldest.txt
	@$(PYTHON) tools/bootstrap.py $(OLDEST) --only requirements/onnxruntime-oldest.txt

# Removes one check of the verifier after the other and looks whether a test notices.
mutants: $(VENV)/.ready
	@$(BIN)/python tools/mutate.py

# What users met, rebuilt with what is right.
cases: $(VENV)/.families
	@$(BIN)/python tools/run_tests.py -m case

# Runs every hostile test and writes the table of attacks in SECURITY.md.
attacks: $(VENV)/.families
	@$(BIN)/python tools/attacks.py

# The runtime's and the converter's light tests on every Python there is, with the lowest and the newest versions; one table.
matrix: $(VENV)/.ready
	@$(BIN)/python tools/matrix.py $(MATRIX)

# Every .in file of requirements becomes a lock: one version of everything, with hashes.  UPGRADE=--upgrade takes newer ones.
locks: $(LOCKS)/.ready
	@$(PYTHON) tools/lock.py $(UPGRADE) $(LOCKS)/bin/uv

$(LOCKS)/.ready: requirements/uv.txt
	@$(PYTHON) tools/bootstrap.py $(LOCKS) --only requirements/uv.txt

bench: $(VENV)/.families
	@$(BIN)/python bench/run.py

schemas: $(VENV)/.ready
	@$(BIN)/python -m alphaseal_converter.bundle.schema schemas

# What `completion` of both commands prints, from their parsers.
completions: $(VENV)/.ready
	@$(BIN)/python tools/completions.py

format: $(VENV)/.ready
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

adapters: $(ADAPTERS)/.ready

$(ADAPTERS)/.ready: requirements/adapters.txt
	@$(PYTHON) tools/bootstrap.py $(ADAPTERS) --research requirements/adapters.txt

research: $(RESEARCH)/.ready

$(RESEARCH)/.ready: tools/research/requirements-research.txt requirements/torch.txt
	@$(PYTHON) tools/bootstrap.py $(RESEARCH) --research tools/research/requirements-research.txt --unhashed requirements/torch.txt

# Rebuilds the real input of the tests with the real packages, in an environment of its own.
fixtures: $(RESEARCH)/.ready
	@$(RESEARCH)/bin/python tools/research/rebuild.py --environment $(RESEARCH) --out out/fixtures

clean:
	rm -rf $(VENV) .environments out demo
