# `make demo`, `make search-demo` and `make test`. Each makes .venv and installs once.
# The first Python that runs and is new enough; `make demo PYTHON=...` names another.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# On two cores; tests/order.py says how. Libraries' own threads would only get in each other's way.
TEST := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest -q \
	-n 2 --dist loadgroup --no-loadscope-reorder --durations=15

.PHONY: demo search-demo test check format support clean

demo: $(STAMP)
	$(BIN)/python examples/digits.py

# About twenty minutes on two cores; interrupted, the same command goes on.
search-demo: $(STAMP)
	$(BIN)/bnnc search examples.small_reactnet:small_reactnet --shape 1,1,32,32 --data mnist_5k \
	  --target x86-64-v3 --budget 150us --epochs 10 --supernet-epochs 5 --shift 2 --batch 50 \
	  --population 12 --generations 3 --finalists 3 --workers 2 -o build/search --resume

test: $(STAMP)
	$(TEST)

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(TEST)

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The list of operators in README.md.
support: $(STAMP)
	$(BIN)/python docs/support.py

# A CPU build of PyTorch is enough, and a plain install would fetch gigabytes of CUDA.
$(STAMP): setup.py
	@test -n "$(PYTHON)" || { echo "no Python 3.11, 3.12 or 3.13 was found; install one, or name it:" \
	  "make demo PYTHON=/path/to/python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q "torch==2.13.0" || $(BIN)/pip install -q "torch==2.13.0" --index-url https://download.pytorch.org/whl/cpu
	$(BIN)/pip install -q -e ".[dev]"
	touch $(STAMP)

clean:
	rm -rf $(VENV) build
