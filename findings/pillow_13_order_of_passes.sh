#!/usr/bin/env bash
# Pillow 13.0.0 resizes some pictures to other pixels than Pillow 12.3.0: the order of its two passes has changed.
#
# Image.resize makes one pass across and one down, and rounds to whole levels between them. Up to 12.3.0 the width is
# always resized first. Since 13.0.0 the height is, where it loses more than twice the pixels that the width loses
# (src/libImaging/Resample.c; pull request 9549). The same picture of 700 x 2100 resized to 320 x 320 then differs in
# some 15 % of its values, by one level of 255 mostly; a picture of 2100 x 700 does not differ at all.
#
# Why it matters: torchvision, timm and others resize with Pillow. A service that copies that resize to the bit has to
# know which Pillow is meant, cached features and golden files of tall pictures change with an upgrade, and 13.0.0's
# release notes do not mention it.
#
# Seen on 2026-11-30, Python 3.11, Linux, x86_64.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/resize.py" <<'PYTHON'
import sys

import numpy as np
import PIL
from PIL import Image

pixels = np.random.default_rng(0).integers(0, 256, (2100, 700, 3), np.uint8)
found = {}
for name, picture in (("tall", pixels), ("wide", pixels.transpose(1, 0, 2))):
    image = Image.fromarray(np.ascontiguousarray(picture))
    found[name] = np.asarray(image.resize((320, 320), Image.Resampling.BILINEAR))
    across = image.resize((320, image.height), Image.Resampling.BILINEAR)
    found[name + ", width first"] = np.asarray(across.resize((320, 320), Image.Resampling.BILINEAR))
np.savez(sys.argv[1], version=PIL.__version__, **found)
PYTHON
for version in 12.3.0 13.0.0; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/pip" install --quiet "pillow==$version" numpy==2.4.6
    "$folder/$version/bin/python" "$folder/resize.py" "$folder/$version.npz"
done
cat > "$folder/compare.py" <<'PYTHON'
import sys

import numpy as np

old, new = (np.load(path) for path in sys.argv[1:])
print(f"Pillow {old['version']} beside {new['version']}, 2100 or 700 pixels to 320")
for name in ("tall", "wide"):
    apart = np.abs(old[name].astype(int) - new[name])
    print(f"{name}: {100 * (apart > 0).mean():.1f} % of the values differ, by {apart.max()} at most")
    assert np.array_equal(old[name], old[name + ", width first"])
    assert np.array_equal(new[name], new[name + ", width first"]) == (name == "wide"), "this has changed"
    assert (apart > 0).any() == (name == "tall"), "this has changed"
PYTHON
"$folder/13.0.0/bin/python" "$folder/compare.py" "$folder/12.3.0.npz" "$folder/13.0.0.npz"
