# Everything a person does here. `make` or `make help` lists it.
.DEFAULT_GOAL := help
SHELL := /bin/bash

TASK ?= snli
ATTN ?= softmax
DATA ?= mini
LOGGER ?= none
ARGS ?=
RUN ?=
PREMISE ?=
HYPOTHESIS ?=
NBEST ?=
ATTENTION ?=
RESUME ?=
# Languages of a translation, source and target: de-en.
PAIR ?=
NPROC ?= 1
# Of sweeps: the grid (make help lists them), who starts the runs, how many of them at once.
SWEEP ?=
LAUNCHER ?= basic
JOBS ?= 2
# Of searches: how many trials, the study's name (the same one goes on with it), what is searched.
TRIALS ?= 20
STUDY ?=
SPACE ?=
# Of strengths: where the records of a study lie.
TRIALS_IN ?=
# Where to train (cpu, cuda or auto: a GPU if there is one) or to time (cpu or cuda).
DEVICE ?=
# Of the benchmark: sections (all), numbers of CPU threads (1,2), anything for a quick look.
ONLY ?=
THREADS ?=
QUICK ?=
# Of make reproduce: tables of the paper, at which scale, its mappings or which (paper,entmax15), how many seeds (5)
# or which (4,5), the plan alone.
TABLE ?= all
TIER ?= mini
MAPPINGS ?= paper
SEEDS ?= 3
DRY ?=
# Of make soak: the share of the full numbers.
N ?= 1
PYTHON ?= python3
# Index of the torch build to install, where the default is not the wanted one (see docs/start.md).
TORCH_INDEX ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
LOCK := requirements/locked.txt
PEERS := requirements/peers.txt
TORCH := $(shell grep '^torch==' constraints.txt)
# What a target reads. A variable of the command line that it does not read would be passed over in silence.
reads-train := TASK ATTN DATA PAIR NPROC LOGGER DEVICE ARGS RESUME
reads-evaluate := RUN ARGS
reads-export := RUN ARGS
reads-baselines := TASK TIER ARGS
reads-data := TIER
reads-predict := RUN PREMISE HYPOTHESIS
reads-translate := RUN NBEST ATTENTION ARGS
reads-summarize := $(reads-translate)
reads-bench := DEVICE THREADS ONLY QUICK
reads-bench-decoding := RUN THREADS
reads-sweep := SWEEP LAUNCHER JOBS TASK ATTN DATA PAIR LOGGER DEVICE ARGS
reads-tune := STUDY SPACE TRIALS TASK ATTN DATA PAIR LOGGER DEVICE ARGS
reads-reproduce := TABLE TIER MAPPINGS SEEDS JOBS THREADS LAUNCHER DRY ARGS
reads-strengths := STUDY TRIALS_IN ARGS
reads-soak := N
reads-help := TASK
variables := $(sort $(foreach name,$(filter reads-%,$(.VARIABLES)),$($(name))))
given := $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))
unread := $(filter-out $(foreach goal,$(MAKECMDGOALS),$(reads-$(goal))) PYTHON TORCH_INDEX VENV,$(given))
ifneq ($(unread),)
$(error $(or $(MAKECMDGOALS),help) must get variables among $(sort $(foreach goal,$(MAKECMDGOALS),$(reads-$(goal)))), \
got $(unread); values of the config go into ARGS, all in one pair of quotes, as in ARGS="seed=3 trainer.epochs=5")
endif

# A recipe is cut at line ends, whatever quotes they stand in.
define line-end


endef
cut := $(strip $(foreach name,$(variables),$(if $(findstring $(line-end),$(value $(name))),$(name))))
ifneq ($(cut),)
$(error $(cut) must be one line, got several)
endif

# An experiment chooses for itself: beside one, a variable counts only where somebody has given it.
chosen := $(foreach name,$(variables),$(if $(filter-out file,$(origin $(name))),$(name)))
counts = $(if $(findstring experiment=,$(ARGS)),$(filter $1,$(chosen)),yes)
# Every variable but ARGS, which is shell text, as it was typed: make would expand a $ in it, the shell run quotes.
unexport $(variables)
quoted = '$(subst ','\'',$(value $1))'
# DATA is the name of a config in configs/data/<task>, else a folder, whose name may be anything, as ./mini.
is-config = $(if $(findstring /,$(value DATA)),,$(wildcard configs/data/$(value TASK)/$(value DATA).yaml))
data = $(if $(is-config),data=$(call quoted,TASK)/$(call quoted,DATA),\
  data=$(call quoted,TASK)/folder DATA=$(call quoted,DATA)) $(pair)
pair = $(if $(value PAIR),data.pair=$(call quoted,PAIR))
device = $(if $(value DEVICE),trainer.device=$(call quoted,DEVICE))
logger = logger=$(call quoted,LOGGER)
choices = $(if $(call counts,TASK),task=$(call quoted,TASK)) $(if $(call counts,ATTN),attention=$(call quoted,ATTN)) \
  $(if $(call counts,DATA),$(data),$(pair))
all-choices = task=$(call quoted,TASK) attention=$(call quoted,ATTN) $(data) $(logger) $(device) $(ARGS)
# An option of a command, where its variable has a value.
option = $(if $(value $2),$1 $(call quoted,$2))

.PHONY: $(shell sed -n "s/^\([a-z-][a-z -]*\):.*/\1/p" $(firstword $(MAKEFILE_LIST)))

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16
	@echo
	@echo 'TASK    $(basename $(notdir $(wildcard configs/task/*.yaml)))'
	@echo 'ATTN    $(basename $(notdir $(wildcard configs/attention/*.yaml)))'
	@echo 'DATA    $(basename $(notdir $(wildcard configs/data/$(value TASK)/*.yaml))), or a folder'
	@echo 'SWEEP   $(basename $(notdir $(wildcard configs/sweep/*.yaml)))'
	@echo 'LOGGER  $(basename $(notdir $(wildcard configs/logger/*.yaml)))'
	@echo 'NPROC   processes that share each batch, one for each GPU where there is one'
	@echo 'ARGS    any config value, such as ARGS="attention.lam=0.05 seed=3 debug=tiny"'

install: $(VENV)/installed ## make the virtual environment

# What is installed is what was tested, file for file: each against its SHA-256 in the lock, and what builds from
# source before the rest. torch then finds all it needs but its CUDA packages; triton is there if its build has one.
$(VENV)/installed: pyproject.toml constraints.txt $(LOCK)
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --require-hashes --no-deps -r <(sed -n '/^setuptools==/,/[^\\]$$/p' $(LOCK))
	@$(PIP) --require-hashes --no-deps --no-build-isolation -r $(LOCK)
	@$(PIP) -c constraints.txt $(call option,--index-url,TORCH_INDEX) $(TORCH)
	@$(PIP) -c constraints.txt --no-build-isolation -e '.[triton]'
	@touch $@

train: $(VENV)/installed ## train, test, record: TASK=… ATTN=… DATA=… PAIR=… NPROC=… DEVICE=… ARGS="…", or RESUME=<run>
	@$(BIN)/python -m scripts.$(if $(filter 1,$(value NPROC)),train,several $(call quoted,NPROC)) \
	  $(if $(value RESUME),resume $(call quoted,RESUME) $(ARGS),$(choices) $(logger) $(device) $(ARGS))

evaluate: $(VENV)/installed ## evaluate a trained run again: RUN=<run>
	@$(BIN)/python -m scripts.evaluate $(call quoted,RUN) $(ARGS)

export: $(VENV)/installed ## write <run>/export: weights, config, vocabulary and model card: RUN=<run>
	@$(BIN)/python -m scripts.export $(call quoted,RUN) $(ARGS)

data: $(VENV)/installed ## get the data of tier small from public repositories, into data/small
	@$(BIN)/python -m scripts.data $(if $(filter TIER,$(chosen)),--tier $(call quoted,TIER))

baselines: $(VENV)/installed ## write results/baselines, what a corpus yields without attention: TASK=… TIER=… ARGS="…"
	@$(BIN)/python -m scripts.baselines --task $(call quoted,TASK) --tier $(call quoted,TIER) $(ARGS)

predict: $(VENV)/installed ## ask a trained model: RUN=<run> PREMISE="…" HYPOTHESIS="…"
	@$(BIN)/python -m scripts.predict $(call quoted,RUN) $(call quoted,PREMISE) $(call quoted,HYPOTHESIS)

translate: $(VENV)/installed ## translate lines: RUN=<run> NBEST=3 ATTENTION=<file>.json|.png ARGS="…" < lines
summarize: $(VENV)/installed ## summarize lines, likewise; ARGS=--help tells all
translate summarize:
	@$(BIN)/python -m scripts.generate $@ $(call quoted,RUN) $(call option,--nbest,NBEST) \
	  $(call option,--attention,ATTENTION) $(ARGS)

tables: $(VENV)/installed ## write results/tables from the records in results/runs
	@$(BIN)/python -m scripts.tables

figures: $(VENV)/installed ## draw results/figures, figures 1 to 3 of the paper, from the library and the records
	@$(BIN)/python -m scripts.figures

bench: $(VENV)/installed ## time against torch.softmax and other packages: DEVICE=… THREADS=1,2 ONLY=… QUICK=1
	@$(BIN)/python -m scripts.bench $(call option,--device,DEVICE) $(call option,--threads,THREADS) \
	  $(call option,--only,ONLY) $(if $(value QUICK),--quick)

bench-decoding: $(VENV)/installed ## time trained encoder–decoders: RUN="<run> <run> …" THREADS=2 < sentences.txt
	@$(BIN)/python -m scripts.bench.decoding $(call quoted,RUN) $(call option,--threads,THREADS)

# What has to be compiled comes last and one by one: what cannot be keeps out no other. A torchsort that sees nvcc is built
# for CUDA, which fails where torch has none.
COMPILED := prox-tv torchsort
bench-peers: $(VENV)/installed ## install what the benchmark compares with, as far as it installs here
	@$(PIP) --require-hashes --no-deps -r <(sed $(foreach peer,$(COMPILED),-e '/^$(peer)==/,/[^\\]$$/d') $(PEERS))
	@for peer in $(COMPILED); do $(if $(shell command -v nvidia-smi),,PATH=/usr/bin:/bin) \
	  $(PIP) --require-hashes --no-deps --no-build-isolation -r <(sed -n "/^$$peer==/,/[^\\\\]\$$/p" $(PEERS)) || \
	  echo "$$peer did not install: it takes a C++ compiler, prox-tv LAPACK too: apt-get install liblapacke-dev libopenblas-dev"; \
	done

bench-busy: $(VENV)/installed ## time training beside eight processes that keep the processors busy
	@$(BIN)/python -m scripts.bench.busy

sweep: $(VENV)/installed ## train a grid: SWEEP=… TASK=… ATTN=… DATA=… LAUNCHER=basic|joblib|submitit_local|submitit_slurm JOBS=2 ARGS="…"
	@$(BIN)/python -m scripts.sweep --sweep $(call quoted,SWEEP) --launcher $(call quoted,LAUNCHER) \
	  --jobs $(call quoted,JOBS) $(all-choices)

tune: $(VENV)/installed ## search with Optuna: TASK=… ATTN=… DATA=… TRIALS=20 STUDY=<name> SPACE=<configs/tune> ARGS="…"
	@$(BIN)/python -m scripts.tune --trials $(call quoted,TRIALS) --space $(call quoted,$(if $(value SPACE),SPACE,ATTN)) \
	  --study $(if $(value STUDY),$(call quoted,STUDY),$(call quoted,TASK)-$(call quoted,ATTN)-"$$(basename $(call quoted,DATA))") \
	  $(all-choices)

strengths: $(VENV)/installed ## choose strengths by trials on dev: STUDY=<name> TRIALS_IN=<results> ARGS="optim.lr=0.003"
	@$(BIN)/python -m scripts.strengths $(call option,--study,STUDY) $(call option,--trials-in,TRIALS_IN) $(ARGS)

# Imports are made with the threads that runs have: one each, unless THREADS says more.
reproduce: $(VENV)/installed ## run what the paper's tables lack: TABLE=all TIER=mini SEEDS=3 MAPPINGS=paper JOBS=… LAUNCHER=… DRY=1
	@OMP_NUM_THREADS=$(if $(value THREADS),$(call quoted,THREADS),1) $(BIN)/python -m scripts.reproduce \
	  --table $(call quoted,TABLE) --tier $(call quoted,TIER) --mappings $(call quoted,MAPPINGS) \
	  --seeds $(call quoted,SEEDS) $(if $(filter JOBS,$(chosen)),--jobs $(call quoted,JOBS)) \
	  $(call option,--threads,THREADS) --launcher $(call quoted,LAUNCHER) $(if $(value DRY),--dry) $(ARGS)

report: $(VENV)/installed ## write results/report/index.html, one page of everything in results/
	@$(BIN)/python -m scripts.report

docs: $(VENV)/docs ## build the site of README and docs into build/docs; a broken link or a formula that is none stops it
	@$(BIN)/python -m sphinx -W --keep-going --quiet -d build/doctrees -c docs . build/docs
	@echo build/docs/index.html

$(VENV)/docs: $(VENV)/installed requirements/docs.txt
	@$(PIP) --require-hashes --no-deps -r requirements/docs.txt
	@touch $@

soak: $(VENV)/installed ## run the measured tests at N=1 (or a share) of their full numbers: results/reliability.json
	@$(BIN)/python -m pytest -q -n 2 --timeout 3600 --exhaustive $(call quoted,N) tests; code=$$?; \
	  $(BIN)/python -m scripts.reliability && exit $$code

# For one Python, which is enough while 3.11 and 3.12 need the same packages: a test holds that. torch is pinned by
# version alone, for its CPU and CUDA builds differ; triton and CUDA's packages come with a build of torch.
COMPILE := uv pip compile --quiet pyproject.toml --constraint constraints.txt --python-version 3.11 --generate-hashes \
  --no-annotate --custom-compile-command 'make lock' --no-emit-package regattn --no-emit-package torch
lock: ## renew requirements/ after a change of constraints.txt or pyproject.toml, with uv (pip install uv)
	@$(COMPILE) --extra dev --output-file $(LOCK)
	@$(COMPILE) --extra bench --excludes $(LOCK) --output-file $(PEERS)
	@$(COMPILE) --extra docs --excludes $(LOCK) --output-file requirements/docs.txt
	@sed -i '/^\(cuda\|nvidia\|triton\)\b/,/[^\\]$$/d' $(LOCK) $(PEERS) requirements/docs.txt

test: $(VENV)/installed ## run the tests
	@$(BIN)/python -m pytest -q -n 2 --dist worksteal

check: $(VENV)/installed ## lint, formatting, types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(VENV)/installed ## format the code
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet .

clean: ## remove the virtual environment, caches and unfinished runs; records stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info runs/debug
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
