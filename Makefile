# Needs Python >= 3.11, make, and a package index. `make` alone lists the targets.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: help install demo test test-tfio test-ray test-peers test-versions lint types docs page check notebooks lock \
        audit clean digits

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*##  */  make \1\t/p' Makefile | expand -t 20

install: $(STAMP)  ## the package and the development tools, in .venv (3 GB)

$(STAMP): pyproject.toml requirements.lock
	@$(PYTHON) -c "import sys; v = sys.version_info[:3]; sys.exit(None if (3, 11, 5) <= v < (3, 14) else \
	'Python 3.11.5 to 3.13 is needed, %s is %d.%d.%d. Try: make install PYTHON=python3.12' \
	% ((sys.executable,) + v))"
	@echo "Installing into $(VENV): TensorFlow and the tools, 3 GB on disk, some minutes ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes \
	  --only-binary :all: -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -m asr.doctor.warm
	@touch $(STAMP)

demo: install  ## real transcripts and a training run: the very commands that you would type
	@echo; echo "== 1. The shipped model transcribes eight sample clips"; echo
	$(BIN)/asr transcribe asr/assets/clips
	@echo; echo "== 2. How good is that? Word error rate, its interval, and what was measured"; echo
	$(BIN)/asr evaluate asr/assets/digits.asr asr/assets/clips/clips.jsonl
	@echo; echo "== 3. A training run of your own: eight tone words, about a minute"; echo
	$(BIN)/asr train recipes/tones.toml runs/tones
	$(BIN)/asr evaluate runs/tones runs/tones/tones/test.jsonl
	$(BIN)/asr transcribe runs/tones runs/tones/tones/audio/test-0000.wav
	@echo; echo "Next: your own recordings."
	@echo "  . $(BIN)/activate"
	@echo "  asr transcribe YOUR.wav                     digits; README.md says what it can and cannot"
	@echo "  asr prepare --help                          your folder of recordings becomes a manifest"
	@echo "  asr train recipes/read_english.toml RUN     the header of each recipe has its commands"

DATA ?= ../shared/data

digits: install  ## the whole recipe of the shipped model, 90 minutes; DATA=folder of the corpora
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation \
	  --only-binary :all: -e '.[voices]'
	$(BIN)/asr prepare voices --check --voices programs --voices kokoro --voices kokoro-blends \
	  --voices kokoro-accents
	$(BIN)/asr prepare fsdd $(DATA)/fsdd data/fsdd --overwrite
	$(BIN)/asr prepare kaldi $(DATA)/speechocean762/train data/speechocean762-digits \
	  --dev-every 10 --only-words "zero one two three four five six seven eight nine" --overwrite
	$(BIN)/asr prepare voices recipes/digits.txt data/voices --voices programs --every-voice 10 \
	  --texts-per-voice 30
	$(BIN)/asr prepare voices recipes/digits.txt data/kokoro-digits --voices kokoro \
	  --voices kokoro-blends --every-voice 10 --texts-per-voice 4 --valid-every 11
	$(BIN)/asr prepare voices recipes/digits.txt data/kokoro-accents --voices kokoro-accents \
	  --every-voice 10 --texts-per-voice 4 --valid-every 11
	$(BIN)/asr prepare noise $(DATA)/noise-esc10 data/noise --names '[1-3]-*' --overwrite
	$(BIN)/asr prepare noise $(DATA)/noise-esc10 data/noise-dev --names '4-*' --overwrite
	$(BIN)/asr prepare noise $(DATA)/noise-esc10 data/noise-test --names '5-*' --overwrite
	$(BIN)/asr prepare noise data/made-noise --made 120 --overwrite
	$(BIN)/asr train recipes/digits_base.toml runs/digits-base \
	  --set data.audio_root=$(DATA) --set augment.noise_dir=$(DATA)/noise-esc10
	$(BIN)/asr train recipes/digits.toml runs/digits \
	  --set data.audio_root=$(DATA) --set augment.noise_dir=$(DATA)/noise-esc10
	rm -f runs/digits/mean.asr  # of a call before; asr average replaces nothing
	$(BIN)/asr average runs/digits-base runs/digits --shares 0.2 --shares 0.8 -o runs/digits/mean.asr \
	  --verify data/voices/valid.jsonl --verify data/kokoro-digits/valid.jsonl \
	  --verify data/kokoro-accents/valid.jsonl --verify data/noise-dev/train.jsonl
	$(BIN)/asr evaluate runs/digits/mean.asr data/fsdd/test.jsonl --audio-root $(DATA)
	$(BIN)/asr audit data/fsdd/test.jsonl --bundle runs/digits/mean.asr --audio-root $(DATA) \
	  --silence --noise data/noise-test/train.jsonl

test: install  ## the tests, minutes on two cores
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -rs

test-tfio:  ## tensorflow-io at work: Python 3.11 and TensorFlow 2.17, in .legs/tfio (3 GB)
	@sh tests/leg.sh tfio python3.11 tfio,remote,test - -m "not gpu" \
	    tests/data/test_recordings.py tests/audio/test_remote.py tests/doctor/test_tensorflow_io.py

test-ray:  ## Ray at work, on a cluster of two nodes, and outputs in a bucket: Python 3.11, in .legs/ray (4 GB)
	@sh tests/leg.sh ray python3.11 ray,remote,docx,test - -m "not gpu" \
	    tests/fleet/test_cluster.py tests/fleet/test_cluster_options.py tests/fleet/test_cluster_ends.py \
	    tests/fleet/test_bucket.py tests/fleet/test_far_outputs.py tests/fleet/test_far_shards.py

test-peers:  ## other programs read what we write, speak to us and for us: Python 3.11, in .legs/peers (8 GB)
	@sh tests/leg.sh peers python3.11 peers,voices,serve,kenlm,test - -m "not gpu" \
	    tests/corpora/test_exporting.py tests/corpora/test_sharding.py tests/serve/test_wyoming.py \
	    tests/commands/test_commands.py tests/voices/test_voices.py tests/language_model/test_kenlm.py

QUICK := tests/features tests/test_recipe.py tests/test_recognizer.py tests/data tests/bundle \
    tests/network tests/augment tests/training/test_processes.py \
    tests/scoring/test_scoring.py tests/command_line/test_cli_settings.py

test-versions:  ## quick tests on the oldest and newest versions, Python 3.11 and 3.13, in .legs (6 GB)
	@sh tests/leg.sh oldest python3.11 test tests/oldest.txt $(QUICK)
	@sh tests/leg.sh newest python3.13 test - $(QUICK)

lint: install  ## style and spelling
	$(BIN)/ruff check asr tests benchmarks notebooks recipes
	$(BIN)/codespell asr tests recipes benchmarks notebooks docs README.md CHANGELOG.md CONTRIBUTING.md

types: install  ## annotations
	$(BIN)/pyright

docs: install  ## the documentation as a site, in site/
	$(BIN)/mkdocs build --strict  # with --quiet a warning would be no error

page: install  ## the shipped model as one HTML page, in site/
	mkdir -p site
	rm -f site/digits.html site/digits.html.certificate.json
	$(BIN)/asr export asr/assets/digits.asr site/digits.html

check: lint types docs test  ## all of these, which is what CI runs

notebooks: install  ## execute the notebooks and keep their pictures
	$(BIN)/python notebooks/execute.py

lock:  ## requirements.lock from pyproject.toml and constraints.txt, with the hashes of all files (needs uv)
	@{ printf '%s\n' '# Exact versions with the hashes of all their files, for Linux, macOS and Windows, Python 3.11.5 to' \
	  '# 3.13, the build tools too. Made by `make lock` from pyproject.toml and constraints.txt; not edited.'; \
	  printf 'hatchling\neditables\npip\n' | uv pip compile pyproject.toml - --extra dev --extra docs --universal \
	  --python-version 3.11.5 --generate-hashes --no-annotate --no-header -c constraints.txt --quiet; } \
	  > requirements.lock.new
	@mv requirements.lock.new requirements.lock

audit: ## known vulnerabilities of what is locked (needs pip-audit and its service)
	pip-audit -r requirements.lock --require-hashes --disable-pip

clean:  ## remove .venv and caches; runs/ and data/ stay
	rm -rf $(VENV) .legs .pytest_cache .ruff_cache .hypothesis
