"""Whether anything in a crop can be a code: told by its edges, before a reader is sent there.

A reader takes as long for a label too far away, or one without a code, as for one that it reads, and most labels of a
picture are of that kind. What every code has are edges: some band of rows and columns crosses many full steps between
dark and bright. Their sum is what brightness varies along a line (its total variation) over the contrast: blur takes
from it what it takes from the code.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]

_BAND = 8
"""Rows or columns of a band: no code is lower, or narrower, in pixels."""
_LEAST_CONTRAST = 16.0

# Chosen on the 1,000 scenes that the bundled model is measured on (5,749 labels, of which 800 are read: codes of bars
# with 20.8 edges at the least but for one of 16.4), seen again on 300 others, and on 3,230 rendered codes of every
# format, turned, inverted, blurred, and down to 1.3 pixels a module.
_MODULES_EACH = 4.85
_MODULES_BOTH = 5.5
_BARS = 18.0


@dataclass(frozen=True, slots=True)
class Texture:
    """How many full steps between dark and bright are met on the way `across` the crop in some band of rows, and on
    the way `down` in some band of columns; 0 where there is no contrast. `dark`: dark pixels prevail.
    """

    across: float
    down: float
    dark: bool

    @property
    def bars(self) -> bool:
        """Whether a code of bars can be there. The shortest have 24 edges; narrow ones are less than full steps."""
        return self.most >= _BARS

    @property
    def modules(self) -> bool:
        """Whether a two-dimensional code can be there. The smallest, of 10 modules a side, has 10 edges."""
        return min(self.across, self.down) >= _MODULES_EACH and self.across * self.down >= _MODULES_BOTH**2

    @property
    def most(self) -> float:
        """The larger of both counts."""
        return max(self.across, self.down)


def texture(crop: Grey, inner: Grey) -> Texture:
    """The texture of a crop; its contrast is that of its `inner` part, without what lies around the label."""
    darkest, brightest, _, _ = cv2.minMaxLoc(inner)
    contrast = brightest - darkest
    if contrast < _LEAST_CONTRAST:
        return Texture(0.0, 0.0, False)
    rows = cv2.reduce(cv2.absdiff(crop[:, 1:], crop[:, :-1]), 1, cv2.REDUCE_SUM, dtype=cv2.CV_32F)
    columns = cv2.reduce(cv2.absdiff(crop[1:], crop[:-1]), 0, cv2.REDUCE_SUM, dtype=cv2.CV_32F)
    across = cv2.minMaxLoc(cv2.blur(rows, (1, _BAND)))[1]
    down = cv2.minMaxLoc(cv2.blur(columns, (_BAND, 1)))[1]
    dark = cv2.mean(inner)[0] < (darkest + brightest) / 2
    return Texture(across / contrast, down / contrast, dark)
