#!/usr/bin/env bash
# OpenCV 5.0.0.93 (opencv-python-headless): cv2.imdecode takes twice the memory of what it returns, cv2.imread once.
#
# A PNG of 4,000 x 4,000 pixels is decoded in a process of its own, whose peak of resident memory is compared with the
# size of the result. From a buffer (cv2.imdecode) the peak rises by two results: what the Python binding returns is a
# copy, made while the decoder's own array is still there. The same file read by cv2.imread into an array that is given
# to it (`dst`) rises by one; cv2.imdecode takes no such array in Python.
#
# Why it matters: who bounds the memory of decoding by width x height x channels is off by a factor of two, and a
# service with several decoders at work is killed in a container that "has room" for them. A file in memory
# (memfd_create) lent to imread takes half.
#
# Seen on 2026-11-30, Python 3.11, Linux, x86_64, as peak / result: imdecode 2.0, imread with dst 1.0; with three
# channels and with four.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet opencv-python-headless==5.0.0.93 numpy==2.4.6
cat > "$folder/peak.py" <<'PYTHON'
import resource
import sys

import cv2
import numpy as np

path, way, channels = sys.argv[1], sys.argv[2], int(sys.argv[3])
side = 4000
small = np.full((8, 8, channels), 90, np.uint8)
cv2.imdecode(cv2.imencode(".png", small)[1], cv2.IMREAD_UNCHANGED)  # what the library takes once is taken
data = np.fromfile(path, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
if way == "imdecode":
    found = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
else:
    array = np.empty((side, side, channels), np.uint8)
    found = cv2.imread(path, array, cv2.IMREAD_UNCHANGED)
assert found.shape == (side, side, channels), found.shape
rise = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
print(rise / found.nbytes)
PYTHON
cat > "$folder/make.py" <<'PYTHON'
import sys

import cv2
import numpy as np

for channels in (3, 4):
    picture = np.full((4000, 4000, channels), 90, np.uint8)
    picture[::7] = 200
    cv2.imwrite(f"{sys.argv[1]}/{channels}.png", picture)
PYTHON
python="$folder/venv/bin/python"
"$python" "$folder/make.py" "$folder"
check() { # channels, way, least, most
    ratio=$("$python" "$folder/peak.py" "$folder/$1.png" "$2" "$1")
    echo "$1 channels, $2: peak is $ratio of the result"
    awk -v r="$ratio" -v low="$3" -v high="$4" 'BEGIN { exit !(r >= low && r <= high) }' ||
        { echo "expected $3 to $4: this has changed"; exit 1; }
}
check 4 imdecode 1.8 2.3
check 4 imread 0.9 1.3
check 3 imdecode 1.8 2.3
check 3 imread 0.9 1.3
