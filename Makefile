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

demo: install  ## real transcripts in minutes: the very commands that you would type
	@echo; echo "== 1. Transcribe the sample clips with the shipped model"; echo
	$(BIN)/asr transcribe asr/assets/clips
	@echo; echo "== 2. How good is it? Word error rate on them, with its interval"; echo
	$(BIN)/asr evaluate asr/assets/digits.asr asr/assets/clips/clips.jsonl
	@echo; echo "== 3. Train a recogniser: eight tone words, under a minute"; echo
	$(BIN)/asr train recipes/tones.toml runs/tones
	$(BIN)/asr evaluate runs/tones runs/tones/tones/test.jsonl
	$(BIN)/asr transcribe runs/tones runs/tones/tones/audio/test-0000.wav
	@echo; echo "Next: your own recordings."
	@echo "  . $(BIN)/activate"
	@echo "  asr transcribe YOUR.wav                     digits; README.md says what it can and cannot"
	@echo "  asr prepare --help                          your folder of recordings becomes a manifest"
	@echo "  asr train recipes/read_english.toml RUN     the header of each recipe has its commands"

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis
