#!/bin/sh
# Makes a virtual environment with the first Python that is new enough and able to.
#
#   testbed/venv.sh FOLDER                     PYTHON=/path/to/python3.12 leaves no choice
set -eu

fail() {
  echo "error: $1" >&2
  echo "hint: $2" >&2
  exit 1
}

folder=$1
chosen=
unable=
for python in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
  # Debian and Ubuntu keep both in a package of their own, which python3 doesn't bring.
  if "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    chosen=$python
    break
  fi
  unable=${unable:-$python}
done

if [ -z "$chosen" ] && [ -n "$unable" ]; then
  fail "$unable has no venv module." "As root: apt-get install $(basename "$unable")-venv"
elif [ -z "$chosen" ]; then
  python=${PYTHON:-python3}
  here=$("$python" --version 2>&1) || here="no $python"
  fail "umami-ops needs Python 3.11 or newer, and here is $here." \
    "As root: apt-get install python3.11 python3.11-venv; or name one you have: make PYTHON=/path/to/python3.12 ..."
fi

echo "Making $folder with $("$chosen" --version) ..."
# --clear: what an interrupted run left is no environment.
"$chosen" -m venv --clear "$folder"
