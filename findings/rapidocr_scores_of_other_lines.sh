#!/usr/bin/env bash
# rapidocr 3.10.0: asked for lines alone (no recognition), it answers each line with another line's score.
#
# OpenCV finds outlines from the bottom of a picture upwards. The detector sorts the boxes into reading order after that,
# but not their scores, so that with two lines, one above the other, each has the other's: the line that the network is
# sure of is told as the doubtful one. With recognition the scores in the answer are those of the texts, which are right.
#
# Why it matters: whoever leaves out lines that score too little leaves out others than those, and whoever compares a
# detector's scores with rapidocr's must put them into one order first.
#
# Seen on 2026-12-01, Linux, x86_64, Python 3.11, with onnxruntime 1.31.0 and opencv-python-headless 5.0.0.93:
#   each alone: [0.56] and [0.84]; together: [0.86, 0.56]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet rapidocr==3.10.0 onnxruntime==1.31.0
cat > "$folder/try.py" <<'PYTHON'
import cv2
import numpy as np
from rapidocr import RapidOCR

engine = RapidOCR(params={"Global.log_level": "error"})
doubtful, clear = ("a . , : ; -", 200, 0.7), ("LARGE LINE OF TEXT", 500, 2)


def scores(*lines):
    picture = np.full((740, 900, 3), 255, np.uint8)
    for text, bottom, size in lines:
        cv2.putText(picture, text, (60, bottom), cv2.FONT_HERSHEY_SIMPLEX, size, (0, 0, 0), 2)
    found = engine(picture, use_cls=False, use_rec=False)
    return [round(float(score), 2) for score in found.scores]


print("each alone:", scores(doubtful), "and", scores(clear))
above, below = scores(doubtful, clear)
print("together:", [above, below])
assert above > below, "the upper line is the doubtful one"
PYTHON
"$folder/venv/bin/python" "$folder/try.py"
