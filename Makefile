# make install | make demo | make test | make check. Needs Python >= 3.11, make, a package index.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: install demo test check lint types clean

install: $(STAMP)  ## the package and the development tools, in .venv

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	$(BIN)/python -m asr.lstm.warm
	touch $(STAMP)

test: install  ## everything a newcomer can check
	$(BIN)/python -m pytest

lint: install
	$(BIN)/ruff check asr tests benchmarks
	$(BIN)/codespell asr tests recipes benchmarks README.md

types: install
	$(BIN)/pyright

check: lint types test  ## what CI runs

demo: install  ## real transcripts in minutes
	$(BIN)/python -m asr.demo

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis
