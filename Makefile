# Every job of the workbench has a target here. `make help` lists them.
#
#   MODEL=fer-base        the model export, quantize and bench work on; RECIPE=... names it as well
#   FER2013=fer2013.csv   where FER2013 is (CSV, zip or image folder); FERPLUS=fer2013new.csv adds the FER+ votes
#   BOARD=pi5             the board bundle, arm64-install and vm work for; `make boards` lists them
#   CACHE=data/x.npz      what train and evaluate read in place of FER2013: a cache of `python -m train annotations`
#   TARGET=x86            CPU the INT8 model is built for: x86, armv8, armv8.2-dot or jetson-trt
#   RECIPES=default       what quantize tries: default, all, or names with commas between
#   MAX_DROP=0.3          points of accuracy INT8 may lose; FORCE=1 writes the best candidate even if it fails the gate
#   ACCEPT_TOO_FEW=1      write INT8 that keeps every limit on faces that are too few to prove it
#   FACES=data/fer2013.npz  faces for calibration and gate; a folder with one sub-folder of images a class will do
#   FILE=mine.onnx        what adopt takes; ADOPT="--labels a,b --range imagenet ..." what its file does not say
#   PYTHON=python3.11     the interpreter the environment is made with

# The model inside the runtime package.
DEFAULT_MODEL := fer-base
ifdef RECIPE
MODEL   ?= $(RECIPE)
endif
MODEL   ?= $(DEFAULT_MODEL)
RECIPE  ?= $(MODEL)
# What a finished model is measured on; training and selection see Training and PublicTest alone.
SPLIT   ?= PrivateTest
BOARD   ?= pi5
TARGET  ?= x86
RECIPES ?= default
QUANTIZE_OPTIONS = --target $(TARGET) --recipes $(RECIPES) $(if $(FACES),--faces $(FACES)) \
	$(if $(MAX_DROP),--max-drop $(MAX_DROP)) $(if $(ACCEPT_TOO_FEW),--accept-too-few) $(if $(FORCE),--force)
PYTHON  ?= python3
VENV    := .venv
RUN     := $(VENV)/bin/python
READY   := $(VENV)/.ready
FOLDER  := artifacts/$(MODEL)
# Expanded when the recipe has come to it, and not before the files are made.
PLAN_MODELS = $$(ls build/compared/$(PLAN_NAME)/*/*.fp32.tflite build/compared/$(PLAN_NAME)/*/*.int8.tflite)
PLAN_NAME = $(notdir $(basename $(PLAN)))
CHECKPOINT := models/$(MODEL)/$(MODEL).safetensors
# Ours, smallest first.
FAMILY  := fer-nano fer-small fer-base
# The published systems. The first of NOISY, POLAR and SPLIT_OF_ATTRIBUTES is what the others are measured against.
NOISY   := fer-nano-clean fer-nano-mixed fer-nano-curriculum
POLAR   := positive-negative-clean positive-negative
SPLIT_OF_ATTRIBUTES := plain-va identity-va
WITH_MAPS := saliency saliency-smile
SYSTEMS := $(NOISY) $(POLAR) $(SPLIT_OF_ATTRIBUTES) $(WITH_MAPS) fer-small-curriculum mobilenetv3 mobilenetv3-se mobilenetv3-ferplus
# Trained fold by fold; the best fold is the model.
FOLDED  := xception xception-imagenet
SYSTEMS_MEASURED := docs/systems
# Where the figures of MODEL are kept; the tables of README are of docs/measured alone.
MEASURED = $(if $(filter $(MODEL),$(SYSTEMS) $(FOLDED)),$(SYSTEMS_MEASURED),docs/measured)/$(MODEL)
# A published system may be one that INT8 does not help; then its float files are measured alone.
OR_FLOAT = $(if $(filter $(MODEL),$(FAMILY)),,-)
CHECKPOINTS_OF = $(foreach name,$(1),models/$(name)/$(name).safetensors)
FILES_OF = $(foreach model,$(1),$(wildcard artifacts/$(model)/*.tflite artifacts/$(model)/*.onnx))
CLIP    := media/WolfgangLanger_Pexels.mp4
# Large tensors come and go in every training step; keeping freed memory halves the time lost to page faults.
TRAIN_ENV := MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592

.DEFAULT_GOAL := help
# The stages read each other's files; inside a stage the libraries use the cores.
.NOTPARALLEL:
.PHONY: help setup data train ablation systems evaluate export adopt quantize search inspect calibration-curve release-model keep-figures bench \
	bench-noise bench-peers bench-detectors figures report instructions boards bundle arm64-smoke arm64-install picamera-smoke vm fleet fleet-targets \
	media demo load screenshots test test-all coverage mutants test-tflite-runtime docs fuzz lint format clean

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(READY) ## make the environment in .venv; bring the face detectors, and make YuNet INT8 where it can be had
$(READY): pyproject.toml constraints.txt runtime/pyproject.toml
	@$(RUN) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); echo "make: no virtual environment could be made: apt install python3-venv" >&2; exit 2; }
	@$(RUN) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "make: the workbench needs Python 3.11; say PYTHON=python3.11 (and remove $(VENV))" >&2; exit 2; }
	@echo "setting up $(VENV): about 2 GB, a few minutes the first time"
	$(RUN) -m pip install --quiet --upgrade 'pip>=25.1'
	$(RUN) -m pip install -c constraints.txt --group train --group onnx --group tflite --group dev --group docs --group examples
	$(RUN) -m pip install --quiet --no-deps --group alone
	PYTHONWARNINGS=ignore $(RUN) -m pip install --quiet --no-deps --editable runtime
	$(RUN) -m fer_edge models --fetch mediapipe
	$(RUN) -m boards media
	$(RUN) -m quantize.detector --or-mediapipe
	@touch $@

ifneq ($(strip $(FER2013)),)
DATA := data
endif

data: $(READY) ## read FER2013 (and FERPLUS) once into data/fer2013.npz
	@test -n "$(FER2013)" || { echo "make: name your copy of FER2013: make data FER2013=fer2013.csv FERPLUS=fer2013new.csv" >&2; exit 2; }
	$(RUN) -m train data "$(FER2013)" $(if $(FERPLUS),--ferplus "$(FERPLUS)")

train: $(READY) $(DATA) ## train RECIPE, resuming where an earlier start got to
	$(TRAIN_ENV) $(RUN) -m train $(if $(filter $(RECIPE),$(FOLDED)),kfold,fit) $(RECIPE) $(if $(CACHE),--cache $(CACHE))

ablation: $(READY) $(DATA) ## train the variants of PLAN=train/ablations/NAME.toml and compare them: float, INT8, instructions
	@test -f "$(PLAN)" || { echo "make: name a plan: make ablation PLAN=train/ablations/mobilenetv3.toml" >&2; exit 2; }
	$(TRAIN_ENV) $(RUN) -m train ablate $(PLAN)
	$(RUN) -m quantize compare runs/ablation-$(PLAN_NAME)/*.safetensors --artefacts build/compared/$(PLAN_NAME) \
		--out docs/ablations/$(PLAN_NAME)/int8.csv
	$(RUN) -m boards instructions --or-skip --fresh $(PLAN_MODELS) --out docs/ablations/$(PLAN_NAME)/instructions.csv
	$(RUN) -m boards variants docs/ablations/$(PLAN_NAME)

systems: $(READY) $(DATA) ## train the five published systems of docs/systems.md, one a core; resumes; hours
	printf '%s\n' $(SYSTEMS) | $(TRAIN_ENV) OMP_NUM_THREADS=1 xargs -P $$(nproc) -n 1 $(RUN) -m train fit
	$(TRAIN_ENV) $(RUN) -m train kfold xception
	$(RUN) -m train cost $(call CHECKPOINTS_OF,$(SYSTEMS) xception) --output $(SYSTEMS_MEASURED)/cost.csv
	$(RUN) -m train robustness $(call CHECKPOINTS_OF,$(NOISY)) --output $(SYSTEMS_MEASURED)/robustness.csv
	$(RUN) -m train robustness $(call CHECKPOINTS_OF,fer-small fer-small-curriculum) --output $(SYSTEMS_MEASURED)/robustness-fer-small.csv
	$(RUN) -m train robustness $(call CHECKPOINTS_OF,$(POLAR)) --output $(SYSTEMS_MEASURED)/robustness-positive-negative.csv
	$(RUN) -m train probe $(call CHECKPOINTS_OF,$(SPLIT_OF_ATTRIBUTES)) --output $(SYSTEMS_MEASURED)/probe.csv
	$(RUN) -m train probe $(call CHECKPOINTS_OF,$(SPLIT_OF_ATTRIBUTES)) --kind two-layer --output $(SYSTEMS_MEASURED)/probe-two-layer.csv
	$(RUN) -m train maps $(call CHECKPOINTS_OF,$(WITH_MAPS)) --output $(SYSTEMS_MEASURED)/maps.csv
	$(RUN) -m train maps $(call CHECKPOINTS_OF,$(WITH_MAPS)) --teacher $(call CHECKPOINTS_OF,fer-base) --output $(SYSTEMS_MEASURED)/maps-fer-base.csv

evaluate: $(READY) $(DATA) ## measure the finished MODEL, and its INT8 files if made, on SPLIT (PrivateTest): models/results.csv
	$(RUN) -m train evaluate $(CHECKPOINT) $(wildcard $(FOLDER)/$(MODEL).int8.*[xe]) --split $(SPLIT) $(if $(CACHE),--cache $(CACHE))

export: $(READY) ## checkpoint -> float ONNX and TFLite with contract and golden vectors
	$(RUN) -m export $(CHECKPOINT)

adopt: $(READY) ## a network from elsewhere, FILE=mine.onnx, as float ONNX and TFLite with a contract; ADOPT="--labels ..." answers
	@test -n "$(FILE)" || { echo "make: name the file: make adopt FILE=mine.onnx ADOPT='--labels ... --range imagenet'" >&2; exit 2; }
	$(RUN) -m export.adopt $(FILE) $(ADOPT)

quantize: $(READY) $(DATA) ## float -> the fastest INT8 ONNX and TFLite that keep their accuracy, for TARGET
	$(RUN) -m boards quantize $(FOLDER) $(QUANTIZE_OPTIONS)

search: $(READY) $(DATA) ## every recipe on MODEL, kept as docs/measured/MODEL/search.csv; prints the table of docs/
	$(RUN) -m boards quantize $(FOLDER) --recipes all --target $(TARGET) --checkpoint $(CHECKPOINT)
	mkdir -p $(MEASURED) && cp $(FOLDER)/quantize.csv $(MEASURED)/search.csv
	$(RUN) -m quantize table $(MEASURED)/search.csv

inspect: $(READY) ## INT8 ONNX of MODEL layer by layer: noise, float islands, the layer to leave float
	$(RUN) -m quantize inspect $(FOLDER) --plot $(FOLDER)/inspect.png

calibration-curve: $(READY) $(DATA) ## agreement of MODEL with float against the number of calibration faces
	$(RUN) -m quantize curve $(FOLDER) --csv $(MEASURED)/calibration.csv

release-model: $(READY) $(DATA) ## after training (needs FER2013): commit-ready calibration, default model, figures
	$(RUN) -m export $(CHECKPOINT)
	$(OR_FLOAT)$(RUN) -m quantize $(FOLDER) --recipes $(RECIPES) --save-cache models/$(MODEL)/calibration.json
	$(MAKE) keep-figures
ifeq ($(MODEL),$(DEFAULT_MODEL))
	cp $(FOLDER)/$(MODEL).int8.tflite $(FOLDER)/$(MODEL).int8.tflite.json runtime/fer_edge/data/
endif
	$(RUN) -m boards figures

keep-figures: bench
	mkdir -p $(MEASURED)
	cp $(FOLDER)/bench.csv $(FOLDER)/quantize.csv $$(ls $(FOLDER)/confusion.csv 2>/dev/null) $(MEASURED)/

bench: media $(DATA) ## latency by stage and accuracy of every artefact, with the noise ladder where FER2013 is: CSV and plot
	$(RUN) -m boards bench $(FOLDER) --source $(CLIP)
	@if [ -f data/fer2013.npz ]; then $(MAKE) bench-noise; else echo "no noise ladder: FER2013 is not here"; fi

instructions: $(READY) ## count instructions an inference on emulated Arm cores, for every model in artifacts/
	$(RUN) -m boards instructions --fresh $(call FILES_OF,$(FAMILY)) $(wildcard build/peers/*.tflite) runtime/fer_edge/data/face_detection_full_range_sparse.tflite
	$(RUN) -m boards loop-instructions
	$(if $(call FILES_OF,$(SYSTEMS) $(FOLDED)),$(RUN) -m boards instructions --fresh $(call FILES_OF,$(SYSTEMS) $(FOLDED)) --out $(SYSTEMS_MEASURED)/instructions.csv)

bench-noise: $(READY) $(DATA) ## accuracy under six kinds of noise in five steps (needs FER2013)
	$(RUN) -m boards noise $(wildcard $(FOLDER)/$(MODEL).fp32.tflite $(FOLDER)/$(MODEL).int8.tflite) --out $(MEASURED)/noise.csv

bench-peers: $(READY) $(DATA) ## other people's classifiers beside MODEL, same faces, one thread (needs FER2013)
	$(RUN) -m boards peers $(FOLDER)/$(MODEL).int8.tflite $(filter-out $(FOLDER)/%,$(wildcard $(FAMILY:%=artifacts/%/*.int8.tflite)))

bench-detectors: media ## recall by size and cost of face detectors, ours and others, on the same scenes: CSV and plot (an hour)
	$(RUN) -m boards detectors
	$(RUN) -m boards following

figures: ## every figure of docs/ anew, for all of artifacts/ (FER2013 at hand, the machine quiet: half an hour)
	for model in $(filter $(FAMILY) $(SYSTEMS) $(FOLDED),$(notdir $(wildcard artifacts/*))); do $(MAKE) keep-figures MODEL=$$model || exit 1; done
	$(MAKE) bench-peers instructions
	$(RUN) -m boards figures

report: $(READY) ## one HTML page and plots of all CSV files in docs/measured: docs/report/
	$(RUN) -m boards report

boards: $(READY) ## print the table of board profiles
	@$(RUN) -m boards profiles

bundle: $(READY) ## everything BOARD needs in dist/, for a copy and ./install.sh; KEY=FILE signs it
	$(RUN) -m boards bundle $(BOARD) --model $(MODEL) $(if $(KEY),--key $(KEY)) $(if $(DETECTOR_FILE),--detector-file $(DETECTOR_FILE))

$(FOLDER)/SHA256SUMS:
	$(MAKE) export quantize

arm64-smoke: media | $(FOLDER)/SHA256SUMS ## the runtime on emulated Cortex-A72 and A76: same faces, logits and counts
	$(RUN) -m boards arm64-smoke $(FOLDER) $(OR_SKIP)
	$(RUN) -m boards loop-instructions --check $(OR_SKIP)

arm64-install: media ## BOARD's bundle in an emulated chroot: install, run, upgrade, roll back, uninstall (root, minutes)
	$(RUN) -m boards arm64-install $(BOARD)

picamera-smoke: media ## the real picamera2 on libcamera's virtual camera, in a chroot (root, some minutes the first time)
	$(RUN) -m boards picamera-smoke $(OR_SKIP)

vm: media ## BOARD's bundle on a whole board in QEMU: x86-64, pi5 or pi4 (root, up to an hour)
	$(RUN) -m boards vm $(BOARD)

fleet: $(READY) ## install bundles on the boards of INVENTORY with Ansible and collect their CSV in fleet/
	@test -n "$(INVENTORY)" || { echo "make: name the boards: make fleet INVENTORY=boards.yml (see boards/fleet/inventory.example.yml)" >&2; exit 2; }
	$(VENV)/bin/ansible-playbook -i $(INVENTORY) boards/fleet/site.yml

fleet-targets: $(READY) ## the boards of INVENTORY as scrape targets of Prometheus: boards/fleet/monitoring/targets.json
	@test -n "$(INVENTORY)" || { echo "make: name the boards: make fleet-targets INVENTORY=boards.yml" >&2; exit 2; }
	$(RUN) -m boards fleet-targets $(INVENTORY)

media: $(READY) ## bring the sample clip and photograph, unless they are there
	$(RUN) -m boards media

demo: media ## the whole chain on a sample clip: export, quantize, run
	$(RUN) -m export $(CHECKPOINT)
	$(RUN) -m quantize $(FOLDER)
	@mkdir -p demo && rm -f demo/annotated*.mp4
	$(VENV)/bin/fer-edge --model $(FOLDER)/$(MODEL).int8.tflite --source $(CLIP) --as-fast-as-possible --jsonl demo/faces.jsonl --csv demo/faces.csv --save-video demo/annotated.mp4
	@echo
	@echo "annotated video  demo/annotated.mp4"
	@echo "results          demo/faces.jsonl demo/faces.csv"
	@echo "models           $(FOLDER)/ (quantize.csv has the table above)"

load: media ## the program with 20 viewers, broker, metrics, files and a recording: nothing may be lost (10 minutes)
	$(RUN) -m boards load

screenshots: media ## pictures of the web page for docs/ (needs chromium)
	$(RUN) -m boards screenshots

# Two at a time, each with one thread: a test that computes shares the machine with one that waits.
PYTEST := OMP_NUM_THREADS=1 $(RUN) -m pytest -n 2 --dist loadgroup
test: media ## run the tests that take a moment (6 minutes on two cores)
	$(PYTEST) -m "not slow"

test-all: test ## run all tests: those of `make test`, then the slow ones
	$(PYTEST) -m slow

coverage: media ## which lines the tests of `make test` run, by package: build/coverage.txt
	mkdir -p build && $(PYTEST) -m "not slow" -q --cov --cov-report=term --cov-report=html:build/coverage | tee build/coverage.txt

mutants: $(READY) ## break the code in small ways and list what no test notices: docs/measured/mutants.csv (SUBJECTS="contract gate"; hours)
	$(RUN) -m pip install --quiet -c constraints.txt --group mutation
	nice -n 10 $(RUN) -m tests.mutation $(SUBJECTS)

# tflite-runtime ended with Python 3.11 and numpy 1, so it gets an environment of its own.
TFLITE_VENV := .venv-tflite-runtime
# A copy: what is forced past the gate for this test must not be what is deployed.
TFLITE_COPY := build/tflite-runtime/$(MODEL)
test-tflite-runtime: $(READY) ## INT8 .tflite of MODEL, all inputs and outputs, in tflite-runtime (numpy 1, own environment)
	rm -rf $(TFLITE_COPY) && mkdir -p $(dir $(TFLITE_COPY)) && cp -r $(FOLDER) $(TFLITE_COPY)
	$(RUN) -m quantize $(TFLITE_COPY) --recipes tflite-quantile,tflite-float-io,tflite-full-integer --force
	@$(TFLITE_VENV)/bin/python -c 'import tflite_runtime' 2>/dev/null || { $(RUN) -m venv --clear $(TFLITE_VENV) && $(TFLITE_VENV)/bin/pip install --quiet tflite-runtime==2.14.0 "numpy<2" "opencv-python-headless<4.12" pytest pytest-timeout; }
	PYTHONPATH=runtime TFLITE_MODELS=$(TFLITE_COPY) $(TFLITE_VENV)/bin/python -m pytest -q tests/runtime/test_tflite_runtime.py

docs: $(READY) ## the documentation as a site in build/site
	$(RUN) -m mkdocs build --strict --quiet
	@echo "build/site/index.html"

fuzz: $(READY) ## mutated inputs for every reader of what others wrote: N=300000 SEED=0
	nice -n 10 $(RUN) -m tests.fuzz --n $(or $(N),30000) --seed $(or $(SEED),0)

lint: $(READY) ## ruff format, ruff check, mypy strict on runtime/
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

format: $(READY) ## let ruff put the code in order
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

clean: ## remove what the targets made, but not .venv, data/ or runs/
	rm -rf artifacts demo dist build
