#!/usr/bin/env bash
# torchvision 0.29.2's wheel: after GNU strip (binutils 2.40), even of debugging symbols alone, its image extension cannot
# be loaded any more.
#
# The extension was changed after it had been linked, so that it finds the wheel's own libjpeg, libpng and libnvjpeg.
# strip takes that for what may go, and cuts it out of what is loaded: without it the loader does not get as far as
# looking for libraries ("ELF load command address/offset not page-aligned"). As the wheel has it, it gets there: the
# first that it does not find is PyTorch's, which this script does not install.
#
# Why it matters: images are made small with strip. `import torchvision` goes on without the extension; what is noticed,
# much later, is that torchvision.io decodes no JPEG, as if it had been built without libjpeg.
#
# Seen on 2026-11-30, Linux, x86_64: the wheel of 7.6 MB for Python 3.10 and newer, --strip-debug and --strip-unneeded.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-deps --target "$folder/wheel" torchvision==0.29.2
package=$folder/wheel/torchvision

said() {
    python3 - "$1" << 'PYTHON'
import ctypes
import sys

try:
    ctypes.CDLL(sys.argv[1])
except OSError as error:
    print(error)
PYTHON
}

strip --version | head -n 1
asit=$(said "$package/image_stable.so")
echo "as it is: $asit"
grep -q "cannot open shared object file" <<< "$asit"
for how in --strip-debug --strip-unneeded; do
    strip "$how" -o "$package/stripped.so" "$package/image_stable.so"
    stripped=$(said "$package/stripped.so")
    echo "after strip $how: ${stripped#"$package"/}"
    grep -q "not page-aligned" <<< "$stripped"
done
