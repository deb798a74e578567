"""From a call to its answer through the core's one door: with pictures, or with tensors of the graph's own input."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from app.core.admission import Permit
from app.core.model import Model
from app.core.request import Deadline, InferenceRequest, InferenceResult, TensorRequest
from app.core.service import InferenceService
from app.engines.base import Array
from app.errors import InvalidRequest, RequestError
from app.oip import chains, datatypes, pictures
from app.oip.call import Answered, Call, InputTensor, OutputTensor, RequestedOutput, unique
from app.oip.classes import best_classes
from app.repository.pipeline import ChainEntry


@dataclass(frozen=True, slots=True)
class Asking:
    """What both notations ask through. `most_pictures` may come in one request; `source` names the front."""

    service: InferenceService
    most_pictures: int
    source: str

    async def ask(self, call: Call, permit: Permit, request_id: str, key: str | None = None) -> Answered:
        """The answer; raises the `RequestError` that says why there is none.

        `key` is what its headers, or the stream that it belongs to, go by where several versions share the traffic.
        """
        permit.priority = call.wishes.priority
        deadline = call.wishes.deadline or Deadline.after(self.service.limits.timeout)
        unique((tensor.name for tensor in call.inputs), "input")
        unique((output.name for output in call.outputs), "output")
        chosen_by = call.wishes.sticky or key or request_id
        if (chain := self.service.registry.chain(call.model, call.version)) is not None:
            return await self._ask_chain(call, chain, permit, request_id, deadline, chosen_by)
        await self.service.bring(call.model, deadline, self.source)
        with self.service.registry.lease(
            call.model, call.version, chosen_by
        ) as model:  # its form is read before, and after
            return await self._ask(call, model, permit, request_id, deadline)

    async def _ask_chain(
        self, call: Call, chain: ChainEntry, permit: Permit, request_id: str, deadline: Deadline, key: str
    ) -> Answered:
        tensor, options = chains.only_input(call, chain), call.wishes.options.vision_options()

        def request(index: int, picture: bytes) -> InferenceRequest:
            identifier = f"{request_id}/{index}" if index else request_id
            return InferenceRequest(picture, identifier, chain.name, None, options, deadline, self.source, key=key)

        results = await self._each(request, tensor, permit, None)
        return Answered(chain.name, chain.pipeline.version, call.id or request_id, [chains.to_tensor(results)])

    async def _ask(self, call: Call, model: Model, permit: Permit, request_id: str, deadline: Deadline) -> Answered:
        tensor = _only_input(call.inputs, model)
        if is_pictures(tensor, model):
            outputs = await self._pictures(call, tensor, model, permit, request_id, deadline)
        else:
            outputs = await self._tensors(call, tensor, model, permit, request_id, deadline)
        chosen = [_chosen(wanted, outputs, model) for wanted in call.outputs] if call.outputs else outputs
        return Answered(model.name, model.version, call.id or request_id, chosen)

    async def _pictures(
        self, call: Call, tensor: InputTensor, model: Model, permit: Permit, request_id: str, deadline: Deadline
    ) -> list[OutputTensor]:
        known = [each.name for each in pictures.described(model.task.name, len(model.task.labels))]
        _check_wanted(call.outputs, known, model)
        options = call.wishes.options.vision_options()
        if model.task.name == "classification":
            if any(each is not None for each in (options.top_k, options.score_threshold, options.classes)):
                raise InvalidRequest(
                    "Over this protocol a classification answers with all probabilities. For the best ask for the "
                    "output probabilities with the parameter classification, not with top_k, score_threshold or "
                    "classes."
                )
            options = replace(options, top_k=len(model.task.labels), score_threshold=0.0)
        if model.task.name == "detection":
            if options.masks not in (None, "none"):
                raise InvalidRequest("Over this protocol detections have no masks. Ask /v1/predict for them.")
            options = replace(options, masks="none")
        if model.task.name == "embedding":
            if options.embedding_format not in (None, "float32"):
                raise InvalidRequest("Over this protocol an embedding is FP32. Leave embedding_format out.")
            options = replace(options, embedding_format="float32")

        def request(index: int, picture: bytes) -> InferenceRequest:
            identifier = f"{request_id}/{index}" if index else request_id
            return InferenceRequest(picture, identifier, model.name, model.version, options, deadline, self.source)

        results = await self._each(request, tensor, permit, model)
        return pictures.to_tensors(model.task.name, model.task.labels, results)

    async def _each(
        self,
        request: Callable[[int, bytes], InferenceRequest],
        tensor: InputTensor,
        permit: Permit,
        leased: Model | None,
    ) -> list[InferenceResult]:
        """The answer to each of the tensor's pictures."""
        rows = _pictures_of(tensor, self.most_pictures)
        return await _all(
            [
                asyncio.create_task(self._infer(request(index, picture), permit, leased, index, len(rows)))
                for index, picture in enumerate(rows)
            ]
        )

    async def _infer(
        self, request: InferenceRequest, permit: Permit, model: Model | None, index: int, count: int
    ) -> InferenceResult:
        try:
            return await self.service.infer(request, permit, model)
        except RequestError as error:
            if count == 1:
                raise
            raise type(error)(f"Picture {index}: {error}", retry_after=error.retry_after) from None

    async def _tensors(
        self, call: Call, tensor: InputTensor, model: Model, permit: Permit, request_id: str, deadline: Deadline
    ) -> list[OutputTensor]:
        _check_wanted(call.outputs, [spec.name for spec in model.output_rows], model)
        options = call.wishes.options.model_dump(exclude_none=True, exclude={"deadline_ms"})
        if options:
            raise InvalidRequest(f"Options of pictures ({', '.join(options)}) make no difference to tensors.")
        rows = _rows_of(tensor, model)
        request = TensorRequest(rows, request_id, model.name, model.version, deadline, self.source)
        result = await self.service.infer_tensors(request, permit, model)
        return [
            OutputTensor(
                spec.name,
                datatypes.name_of(spec.dtype),
                (len(rows), *(found[0].shape if (found := result.outputs[spec.name]) else _declared(spec.shape))),
                result.outputs[spec.name],
            )
            for spec in model.output_rows
        ]


def is_pictures(tensor: InputTensor, model: Model) -> bool:
    """Whether it holds encoded pictures; a graph's own input of the same name is told apart by its datatype."""
    return model.takes_pictures and tensor.name == pictures.INPUT and tensor.datatype == datatypes.BYTES


def _only_input(inputs: Sequence[InputTensor], model: Model) -> InputTensor:
    own = model.engine.input.name
    names = [tensor.name for tensor in inputs]
    ways = f"{own} ({datatypes.name_of(model.row_dtype)})"
    if model.takes_pictures:
        ways = f"{pictures.INPUT} (BYTES, encoded pictures) or {ways}"
    for name in names:
        if name not in (own, pictures.INPUT if model.takes_pictures else own):
            raise InvalidRequest(f"The model {model.name} has no input {name[:50]!r}; it takes {ways}.")
    if len(inputs) != 1:
        raise InvalidRequest(f"The model {model.name} takes one input, {ways}; {len(inputs)} were sent.")
    return inputs[0]


def _check_wanted(outputs: Sequence[RequestedOutput], known: list[str], model: Model) -> None:
    for output in outputs:
        if output.name not in known:
            raise InvalidRequest(
                f"The model {model.name} has no output {output.name[:50]!r} for this input; it has {', '.join(known)}."
            )


def _pictures_of(tensor: InputTensor, most: int) -> list[bytes]:
    shape = tensor.content.shape
    if len(shape) not in (1, 2) or (len(shape) == 2 and shape[1] != 1):
        raise InvalidRequest(
            f"The input {tensor.name} holds a picture a row, so its shape is [n] or [n, 1], not {list(shape)}."
        )
    if shape[0] > most:
        raise InvalidRequest(f"The request holds {shape[0]} pictures; at most {most} are taken in one.")
    found: list[bytes] = tensor.content.reshape(-1).tolist()
    return found


def _rows_of(tensor: InputTensor, model: Model) -> Array:
    """The tensor as the engine takes it; checked in the protocol's words before the core is asked."""
    wanted, shape = datatypes.name_of(model.row_dtype), tensor.content.shape
    if tensor.datatype != wanted:
        raise InvalidRequest(f"The input {tensor.name} of {model.name} is of type {wanted}, not {tensor.datatype}.")
    if len(shape) != 1 + len(model.row_shape) or shape[1:] != model.row_shape:
        raise InvalidRequest(
            f"The input {tensor.name} of {model.name} has the shape {[-1, *model.row_shape]}, the first side being the "
            f"batch; {list(shape)} was sent."
        )
    return datatypes.as_text(tensor.content, tensor.name) if wanted == datatypes.BYTES else tensor.content


def _declared(shape: tuple[int | None, ...]) -> tuple[int, ...]:
    """What the graph says of an output's row; a side that it leaves open has no length where there are no rows."""
    return tuple(size or 0 for size in shape)


def _chosen(wanted: RequestedOutput, outputs: Sequence[OutputTensor], model: Model) -> OutputTensor:
    output = next(each for each in outputs if each.name == wanted.name)
    return best_classes(output, wanted.class_count, model.task.labels) if wanted.class_count else output


async def _all(asked: "list[asyncio.Task[InferenceResult]]") -> list[InferenceResult]:
    """Every answer, or the first error; then the others are not waited for, and not computed."""
    try:
        return list(await asyncio.gather(*asked))
    finally:
        while asked:  # an error holds this frame, which must not hold a task, which holds the error
            asked.pop().cancel()
