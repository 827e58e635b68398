#!/bin/sh
# One leg of the version tests: an environment of its own below .legs, and the quick tests in it.
#   sh tests/leg.sh NAME PYTHON EXTRAS CONSTRAINTS [pytest arguments]
# PYTHON is a name such as python3.13; CONSTRAINTS is a file for pip, or - for the newest versions.
# A machine without that Python skips the leg and says so.
set -eu
name=$1 python=$2 extras=$3 constraints=$4
shift 4
found=
for candidate in "$python" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"${python#python}".*/bin/"$python"; do
  if "$candidate" -c 'import venv' 2>/dev/null; then found=$candidate; break; fi
done
if [ -z "$found" ]; then
  echo "leg $name: SKIPPED, $python is not on this machine"
  exit 0
fi
home=.legs/$name
test -x "$home/bin/python" || "$found" -m venv "$home"
echo "leg $name: installing into $home ..."
if [ "$constraints" = - ]; then
  "$home/bin/python" -m pip install --quiet --disable-pip-version-check -e ".[$extras]"
else
  "$home/bin/python" -m pip install --quiet --disable-pip-version-check -c "$constraints" -e ".[$extras]"
fi
"$home/bin/python" -c "
from asr.doctor.machine import versions
print('leg $name:', ', '.join(f'{k} {v}' for k, v in versions().items() if v))"
exec "$home/bin/python" -m pytest "$@"
