# Every job of the workbench has a target here. `make help` lists them.
#
#   MODEL=fer-base        the model export, quantize and bench work on; RECIPE=... names it as well
#   FER2013=fer2013.csv   where FER2013 is (CSV, zip or image folder); FERPLUS=fer2013new.csv adds the FER+ votes
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
PYTHON  ?= python3
VENV    := .venv
RUN     := $(VENV)/bin/python
READY   := $(VENV)/.ready
FOLDER  := artifacts/$(MODEL)
PLAN_NAME = $(notdir $(basename $(PLAN)))
CHECKPOINT := models/$(MODEL)/$(MODEL).safetensors
CLIP    := media/WolfgangLanger_Pexels.mp4
# Large tensors come and go in every training step; keeping freed memory halves the time lost to page faults.
TRAIN_ENV := MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592

.DEFAULT_GOAL := help
# The stages read each other's files; inside a stage the libraries use the cores.
.NOTPARALLEL:
.PHONY: help setup data train ablation evaluate export quantize release-model bench media demo test lint format clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(READY) ## make the environment in .venv and bring the face detector
$(READY): pyproject.toml constraints.txt runtime/pyproject.toml
	@$(RUN) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); echo "make: no virtual environment could be made: apt install python3-venv" >&2; exit 2; }
	@$(RUN) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "make: the workbench needs Python 3.11; say PYTHON=python3.11 (and remove $(VENV))" >&2; exit 2; }
	@echo "setting up $(VENV): about 2 GB, a few minutes the first time"
	$(RUN) -m pip install --quiet --upgrade 'pip>=25.1'
	$(RUN) -m pip install -c constraints.txt --group train --group onnx --group tflite --group dev
	PYTHONWARNINGS=ignore $(RUN) -m pip install --quiet --no-deps --editable runtime
	$(RUN) -m fer_edge models --fetch mediapipe
	@touch $@

ifneq ($(strip $(FER2013)),)
DATA := data
endif

data: $(READY) ## read FER2013 (and FERPLUS) once into data/fer2013.npz
	@test -n "$(FER2013)" || { echo "make: name your copy of FER2013: make data FER2013=fer2013.csv FERPLUS=fer2013new.csv" >&2; exit 2; }
	$(RUN) -m train data "$(FER2013)" $(if $(FERPLUS),--ferplus "$(FERPLUS)")

train: $(READY) $(DATA) ## train RECIPE, resuming where an earlier start got to
	$(TRAIN_ENV) $(RUN) -m train fit $(RECIPE)

ablation: $(READY) $(DATA) ## train the variants of PLAN=train/ablations/NAME.toml and compare them, float and INT8
	@test -f "$(PLAN)" || { echo "make: name a plan: make ablation PLAN=train/ablations/mobilenetv3.toml" >&2; exit 2; }
	$(TRAIN_ENV) $(RUN) -m train ablate $(PLAN) --output docs/measured/$(PLAN_NAME)/ablation.csv
	$(RUN) -m quantize.compare runs/ablation-$(PLAN_NAME)/*.safetensors --out docs/measured/$(PLAN_NAME)/int8.csv

evaluate: $(READY) $(DATA) ## measure the finished MODEL, and its INT8 files if made, on SPLIT (PrivateTest): models/results.csv
	$(RUN) -m train evaluate $(CHECKPOINT) $(wildcard $(FOLDER)/$(MODEL).int8.*[xe]) --split $(SPLIT)

export: $(READY) ## checkpoint -> float ONNX and TFLite with contract and golden vectors
	$(RUN) -m export $(CHECKPOINT)

quantize: $(READY) $(DATA) ## float -> INT8 ONNX and TFLite, calibrated on FER2013 or from the committed cache
	$(RUN) -m quantize $(FOLDER)

release-model: $(READY) $(DATA) ## after training (needs FER2013): commit-ready calibration, default model, figures
	$(RUN) -m export $(CHECKPOINT)
	$(RUN) -m quantize $(FOLDER) --save-cache models/$(MODEL)/calibration.json
	$(MAKE) bench
	mkdir -p docs/measured/$(MODEL)
	cp $(FOLDER)/bench.csv $(FOLDER)/quantize.csv docs/measured/$(MODEL)/
ifeq ($(MODEL),$(DEFAULT_MODEL))
	cp $(FOLDER)/$(MODEL).int8.tflite $(FOLDER)/$(MODEL).int8.tflite.json runtime/fer_edge/data/
endif
	$(RUN) -m boards figures

bench: media $(DATA) ## latency by stage and accuracy of every artefact: CSV and plot
	$(RUN) -m boards bench $(FOLDER) --source $(CLIP)

media: $(READY) ## bring the sample clip and photograph, unless they are there
	$(RUN) -m boards media

demo: media ## the whole chain on a sample clip: export, quantize, run
	$(RUN) -m export $(CHECKPOINT)
	$(RUN) -m quantize $(FOLDER)
	@mkdir -p demo
	$(VENV)/bin/fer-edge --model $(FOLDER)/$(MODEL).int8.tflite --source $(CLIP) --jsonl demo/faces.jsonl --csv demo/faces.csv --save-video demo/annotated.mp4
	@echo
	@echo "annotated video  demo/annotated.mp4"
	@echo "results          demo/faces.jsonl demo/faces.csv"
	@echo "models           $(FOLDER)/ (quantize.csv has the table above)"

test: media ## run the tests
	$(RUN) -m pytest

lint: $(READY) ## ruff format, ruff check, mypy strict on runtime/
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

format: $(READY) ## let ruff put the code in order
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

clean: ## remove what the targets made, but not .venv, data/ or runs/
	rm -rf artifacts demo dist build
