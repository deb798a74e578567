"""The classification extension: of an output, its best classes in place of its values.

Source: Triton's "Classification Extension". Each element is `score:index` or, where the classes have names,
`score:index:label`, best first.
"""

from collections.abc import Sequence

import numpy as np

from app.errors import InvalidRequest
from app.oip.call import OutputTensor
from app.oip.datatypes import BYTES, objects


def best_classes(output: OutputTensor, count: int, labels: Sequence[str]) -> OutputTensor:
    """`[n, k]` of BYTES; a row's values are the scores, as many as there are, of classes that `labels` may name.

    Raises `InvalidRequest` where the output holds no numbers.
    """
    if output.datatype in (BYTES, "BOOL"):
        raise InvalidRequest(f"The output {output.name} holds no scores, so that it has no classes.")
    flat = [row.reshape(-1) for row in output.rows]
    classes = int(np.prod(output.shape[1:], dtype=np.int64))
    names = labels if len(labels) == classes else None
    most = min(count, classes)
    rows = []
    for scores in flat:
        # Of equal scores the first; what is no number comes last.
        best = np.argsort(-scores.astype(np.float64), kind="stable")[:most].tolist()
        found = [f"{scores[at]:f}:{at}" + (f":{names[at]}" if names else "") for at in best]
        rows.append(objects(found, [most]))
    return OutputTensor(output.name, BYTES, (output.shape[0], most), rows)
