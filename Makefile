# Every job of the workbench has a target here: `make help` lists them, `make JOB OPTIONS="..."` passes more words to the last.
# Most targets are the command of the same name of `fer-edge-lab`, which has the options; the variables:
#   MODEL=fer-base          the model to work on; RECIPE=... names it as well
#   FER2013=fer2013.csv     where FER2013 is (CSV, zip or image folder); FERPLUS=fer2013new.csv adds the FER+ votes
#   FACES=data/fer2013.npz  labelled faces; for quantize also a folder with one sub-folder of images a class
#   BOARD=pi5               the board of bundle, arm64-install and vm; `make boards` lists them
#   TARGET=x86              processor INT8 is built for: x86, armv8, armv8.2-dot or jetson-trt
#   RECIPES=default         what quantize tries: default, all, or names with commas between
#   MAX_DROP=0.3            points of accuracy INT8 may lose; FORCE=1 writes the best candidate that fails the gate too
#   ACCEPT_TOO_FEW=1        write INT8 that keeps every limit on faces that are too few to prove it
#   FILE=mine.onnx          what adopt takes; ADOPT="--labels a,b --range imagenet ..." says what its file does not
#   PYTHON=python3.11       the interpreter the environment is made with
MODEL ?= $(if $(filter file undefined,$(origin RECIPE)),fer-base,$(RECIPE))
RECIPE ?= $(MODEL)
SPLIT ?= PrivateTest# what a finished model is measured on; training and selection see Training and PublicTest alone
BOARD ?= pi5
TARGET ?= x86
PYTHON ?= python3
RUN := .venv/bin/python
LAB := .venv/bin/fer-edge-lab
READY := .venv/.ready
INT8 = $(wildcard artifacts/$(MODEL)/$(MODEL).int8.*[xe])
FACES_GIVEN = $(if $(FACES),--faces "$(FACES)")
# Large tensors come and go in every training step; keeping freed memory halves the time lost to page faults.
export MALLOC_MMAP_THRESHOLD_ ?= 4294967296
export MALLOC_TRIM_THRESHOLD_ ?= 8589934592
.DEFAULT_GOAL := help
.NOTPARALLEL: # the stages read each other's files; inside a stage the libraries use the cores
PLAIN := media systems figures remeasure count-instructions bench-detectors report boards load screenshots outdated# without variables
OF_LAB := data train kfold ablation evaluate export adopt quantize search inspect calibration-curve release-model bench bench-noise bench-peers \
	bundle arm64-smoke arm64-install picamera-smoke vm fleet fleet-targets demo release $(PLAIN)
TASKS := test test-all coverage mutants test-tflite-runtime docs fuzz lint format
.PHONY: help setup clean $(TASKS) $(OF_LAB)

help: ; @sed -nE 's/^#   /  /p; s/^([a-z0-9-]+)([a-z -]*)?:.*## /\1\t/p' Makefile | expand -t 22; echo 'and, as fer-edge-lab --help says: $(PLAIN)'
setup: $(READY) ## make the environment in .venv and bring the face detectors
$(READY): pyproject.toml constraints.txt runtime/pyproject.toml
	@sh boards/setup.sh "$(PYTHON)"
data: private ARGS = "$(or $(FER2013),FER2013)" $(if $(FERPLUS),--ferplus "$(FERPLUS)") ## read FER2013 (and FERPLUS) once into data/fer2013.npz
train: private ARGS = $(RECIPE) $(FACES_GIVEN) ## train RECIPE, resuming where an earlier start got to
kfold: private ARGS = $(RECIPE) $(FACES_GIVEN) ## train RECIPE fold by fold
ablation: private ARGS = $(PLAN) ## train the variants of PLAN=train/ablations/NAME.toml and compare them: float, INT8, instructions
evaluate: private ARGS = $(MODEL) $(INT8) --split $(SPLIT) $(FACES_GIVEN) ## measure the finished MODEL, and its INT8 files if made, on SPLIT
export: private ARGS = $(MODEL) ## checkpoint -> float ONNX and TFLite with contract and golden vectors
adopt: private ARGS = $(FILE) $(ADOPT) ## a network from elsewhere, FILE=mine.onnx, as float ONNX and TFLite with a contract
quantize: private ARGS = $(MODEL) --target $(TARGET) --recipes $(or $(RECIPES),default) $(FACES_GIVEN) $(if $(MAX_DROP),--max-drop $(MAX_DROP)) $(if $(ACCEPT_TOO_FEW),--accept-too-few) $(if $(FORCE),--force) ## float -> the fastest INT8 files that keep their accuracy, for TARGET
search: private ARGS = $(MODEL) --target $(TARGET) ## every recipe on MODEL, kept as docs/measured/MODEL/search.csv
inspect: private ARGS = $(MODEL) --plot artifacts/$(MODEL)/inspect.png ## INT8 ONNX of MODEL layer by layer: noise, float islands
calibration-curve: private ARGS = $(MODEL) ## agreement of MODEL with float against the number of calibration faces
release-model: private ARGS = $(MODEL) ## after training: commit-ready calibration, default model, figures
bench: private ARGS = $(MODEL) --source media/WolfgangLanger_Pexels.mp4 ## latency by stage and accuracy of every file of MODEL: CSV and plot
bench-noise: private ARGS = $(wildcard artifacts/$(MODEL)/$(MODEL).fp32.tflite) $(filter %.tflite,$(INT8)) ## accuracy under six kinds of noise
bench-peers: private ARGS = $(filter %.tflite,$(INT8)) ## other people's classifiers beside MODEL, same faces, one thread
bundle: private ARGS = $(BOARD) --model $(MODEL) $(if $(KEY),--key $(KEY)) $(if $(DETECTOR_FILE),--detector-file $(DETECTOR_FILE)) ## everything BOARD needs in dist/, for a copy and ./install.sh; KEY=FILE signs it
arm64-smoke: private ARGS = $(MODEL) $(OR_SKIP) ## the runtime on emulated Cortex-A72 and A76: same faces, logits and counts
arm64-install: private ARGS = $(BOARD) ## BOARD's bundle in an emulated chroot: install, run, upgrade, roll back, uninstall (root, minutes)
picamera-smoke: private ARGS = $(OR_SKIP) ## the real picamera2 on libcamera's virtual camera, in a chroot (root, minutes)
vm: private ARGS = $(BOARD) ## BOARD's bundle on a whole board in QEMU: x86-64, pi5 or pi4 (root, up to an hour)
fleet fleet-targets: private ARGS = $(or $(INVENTORY),INVENTORY) ## install on the boards of INVENTORY with Ansible; make them scrape targets of Prometheus
release: private ARGS = $(or $(VERSION),VERSION) $(BOARD:%=--board %) ## wheel, sdist, bundle, checksums and notes of VERSION in dist/release/
demo: private ARGS = $(MODEL) ## the whole chain on a sample clip: export, quantize, run
demo bench load screenshots vm arm64-smoke arm64-install picamera-smoke bench-detectors test coverage: media
arm64-smoke: | artifacts/$(MODEL)/SHA256SUMS
artifacts/$(MODEL)/SHA256SUMS: ; $(LAB) export $(MODEL) && $(LAB) quantize $(MODEL)
$(if $(FER2013),train kfold ablation evaluate quantize search: data)
$(OF_LAB): $(READY) ; $(LAB) $@ $(ARGS) $(if $(filter $@,$(lastword $(MAKECMDGOALS))),$(OPTIONS))

PYTEST := OMP_NUM_THREADS=1 $(RUN) -m pytest -n 2 --dist loadgroup# one thread each: what computes shares the machine with what waits
test: private DO = $(PYTEST) -m "not slow" $(OPTIONS) ## run the tests that take a moment (6 minutes on two cores)
test-all: private DO = $(PYTEST) -m slow ## run all tests: those of `make test`, then the slow ones
coverage: private DO = $(PYTEST) -m "not slow" -q --cov --cov-report=term --cov-report=html:build/coverage ## which lines `make test` runs, by package
mutants: private DO = $(RUN) -m pip install --quiet -c constraints.txt --group mutation && nice -n 10 $(RUN) -m tests.mutation $(SUBJECTS) ## break the code in small ways and list what no test notices (SUBJECTS="contract gate"; hours)
test-tflite-runtime: private DO = $(RUN) -m tests.tflite_runtime $(MODEL) ## INT8 .tflite of MODEL in tflite-runtime (numpy 1, own environment)
docs: private DO = $(RUN) -m mkdocs build --strict && echo build/site/index.html ## the documentation as a site in build/site
fuzz: private DO = nice -n 10 $(RUN) -m tests.fuzz --n $(or $(N),30000) --seed $(or $(SEED),0) ## mutated inputs for every reader of what others wrote: N=300000 SEED=0
lint: private DO = .venv/bin/ruff format --check . && .venv/bin/ruff check . && .venv/bin/mypy ## ruff format, ruff check, mypy strict on runtime/
format: private DO = .venv/bin/ruff format . && .venv/bin/ruff check --fix . ## let ruff put the code in order
clean: ; rm -rf artifacts demo dist build
test-all: test
$(TASKS): $(READY) ; $(DO)
