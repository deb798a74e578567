"""How a batch gets through an ONNX Runtime session on a device: by captured graphs, or else kernel by kernel."""

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from app.engines.base import Array, EngineOptions, TensorSpec
from app.engines.library_errors import first_line
from app.engines.onnx_cuda import Bound
from app.engines.onnx_graphs import Graphs
from app.engines.onnx_runtime import ort

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)


class Runs:
    """A session, and what its runs keep on the device. `run` and `run_on_device` may be called from several threads."""

    def __init__(
        self,
        open_session: Callable[[bool], ort.InferenceSession],
        describe: Callable[[ort.InferenceSession], tuple[TensorSpec, tuple[TensorSpec, ...]]],
        options: EngineOptions,
        graphs: bool,
    ) -> None:
        """`open_session` opens it so that graphs can be captured, or not, and raises where it cannot; `describe` gives
        its input and outputs; `graphs` says whether to try.
        """
        self._open_session = open_session
        self._options = options
        self.session: ort.InferenceSession
        captured = self._open(graphs)
        self.input, self.outputs = describe(self.session)
        self._names = [spec.name for spec in self.outputs]
        self._lanes = threading.local()
        self._graphs = Graphs(self.session, self.input, self.outputs, options) if captured else None

    def run(self, batch: Array) -> dict[str, Array]:
        """Compute a batch that is on the host."""
        return dict(zip(self._names, self._way().run(batch), strict=True))

    def run_on_device(self, batch: "torch.Tensor") -> dict[str, Array]:
        """Compute a batch that is on the device, and finished."""
        return dict(zip(self._names, self._way().run_on_device(batch), strict=True))

    def warm_up(self, batch: Array) -> dict[str, Array]:
        """Like `run`, before lanes do; where the graph of its bucket cannot be captured, all goes on without graphs."""
        try:
            return self.run(batch)
        except Exception as error:  # ONNX Runtime raises many unrelated types for what cannot be captured
            if self._graphs is None:
                raise
            self._say_without(error)
            self._graphs.close()
            self._graphs = None
            self.session = self._open_session(False)
            self._lanes = threading.local()
            return self.run(batch)

    def close(self) -> None:
        """Free the session and what belongs to it."""
        if self._graphs is not None:
            self._graphs.close()
        self._graphs = None
        self._lanes = threading.local()
        del self.session

    def _open(self, graphs: bool) -> bool:
        """Open the session; returns whether it captures graphs: not all that computes on a GPU can be captured."""
        if graphs:
            try:
                self.session = self._open_session(True)
                return True
            except Exception as error:  # what is wrong with the file itself is raised below
                self._say_without(error.__cause__ or error)
        self.session = self._open_session(False)
        return False

    def _say_without(self, error: BaseException) -> None:
        log.warning("no CUDA graphs, kernels are launched one by one: %s", first_line(error))

    def _way(self) -> Graphs | Bound:
        """The graphs, or the calling lane's buffers on the device."""
        if self._graphs is not None:
            return self._graphs
        if not hasattr(self._lanes, "bound"):
            self._lanes.bound = Bound(self.session, self.input, self._names, self._options)
        bound: Bound = self._lanes.bound
        return bound
