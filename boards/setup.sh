#!/bin/sh
# Makes the workbench's environment in .venv: `make setup`. The one argument is the interpreter to make it with.
set -eu
python=$1 venv=.venv run=.venv/bin/python
fail() { echo "make: $1" >&2; exit 2; }
if ! "$run" -m pip --version >/dev/null 2>&1; then
  "$python" -m venv --clear "$venv" || { rm -rf "$venv"; fail "no virtual environment could be made: apt install python3-venv"; }
fi
"$run" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' ||
  fail "the workbench needs Python 3.11; say PYTHON=python3.11 (and remove $venv)"
echo "setting up $venv: about 2 GB, a few minutes the first time"
"$run" -m pip install --quiet --upgrade 'pip>=25.1'
"$run" -m pip install -c constraints.txt --group train --group onnx --group tflite --group dev --group docs --group release --group examples
"$run" -m pip install --quiet --no-deps --group alone
PYTHONWARNINGS=ignore "$run" -m pip install --quiet --no-deps --editable runtime --editable .
"$run" -m fer_edge models --fetch mediapipe
"$venv/bin/fer-edge-lab" media
"$venv/bin/fer-edge-lab" make-detector --or-mediapipe
touch "$venv/.ready"
