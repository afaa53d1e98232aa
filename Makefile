# make demo [SPEECH=/path [TEST=/path]] [ROOT=runs/NAME]   from a folder of speech to ROOT/report/index.html
# make test        the fast suite, no system packages        make lint    ruff and mypy
# make test-all    everything but what needs a GPU, slow tests and a private SLURM cluster included; installs what that needs on Debian
#                  (chromium, slurm, munge, mariadb) where it is missing; elsewhere the tests concerned skip and say why (CI=true: they fail)
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test test-all lint install clean
install: $(STAMP)
demo: $(STAMP)
	$(BIN)/python -m sweeps.demo $(if $(SPEECH),--speech "$(SPEECH)") $(if $(TEST),--test "$(TEST)") $(if $(ROOT),--root "$(ROOT)")
test: $(STAMP)
	$(BIN)/python -m pytest
test-all: $(STAMP)
	.ci/system-packages
	$(BIN)/python -m pytest -m "not gpu"
lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/mypy
clean:
	rm -rf $(VENV)

# torch first: a CPU build that is at hand (pip's find-links) where there is no GPU, the CUDA build where there is one.
# `===` matches the plain version only, so a CPU wheel lying around is not taken on a GPU machine.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 10) <= v <= (3, 12) else "Python 3.10 to 3.12 is needed, this is %d.%d: make PYTHON=python3.11" % v)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python .ci/install_torch.py constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[dev,browser,notebooks,pesq,optuna,wandb,hub,onnx]"
	$(BIN)/python -m pip install -q -c constraints.txt --no-deps audiocraft julius  # its own pins would replace torch
	touch $@
