"""What is sent and answered at `/v2`, as it is checked and as OpenAPI documents it."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, FailFast, Field

Parameters = Annotated[dict[str, Any], Field(max_length=64)]
Side = Annotated[int, Field(strict=True, le=2**63 - 1)]
_MOST_TENSORS = 64


class _Sent(BaseModel):
    model_config = ConfigDict(extra="forbid")


class RequestInput(_Sent):
    """A tensor that is sent: in `data`, or after the JSON, where `parameters` has a `binary_data_size`."""

    name: str = Field(examples=["image"])
    shape: list[Side] = Field(max_length=32, examples=[[1]])
    datatype: str = Field(examples=["BYTES"])
    parameters: Parameters | None = None
    data: list[Any] | None = Field(None, description="Elements, row after row: flat, or nested as `shape` says.")


class RequestOutput(_Sent):
    """An output that is wanted. Parameters: `binary_data`, `classification`."""

    name: str
    parameters: Parameters | None = None


class InferRequest(_Sent):
    """An inference request."""

    id: str | None = Field(None, max_length=256, description="Comes back with the answer.")
    model_name: str | None = Field(None, description="Said by KServe's client too: the address's, or an error.")
    model_version: str | None = Field(None, description="As `model_name`.")
    parameters: Parameters | None = None
    # The first wrong one is enough: a body may hold very many.
    inputs: Annotated[list[RequestInput], FailFast()] = Field(min_length=1, max_length=_MOST_TENSORS)
    outputs: Annotated[list[RequestOutput] | None, FailFast()] = Field(
        None, max_length=_MOST_TENSORS, description="All, where none is named."
    )


class ResponseOutput(BaseModel):
    """A tensor of an answer; without `data` it comes after the JSON."""

    name: str
    datatype: str
    shape: list[int]
    parameters: Parameters | None = None
    data: list[Any] | None = None


class InferResponse(BaseModel):
    """The answer to an inference request."""

    model_name: str
    model_version: str
    id: str
    outputs: list[ResponseOutput]


class ServerMetadata(BaseModel):
    """The server."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(BaseModel):
    """An input or output; sides of -1 are free. `parameters.way` says whether it belongs to pictures or tensors."""

    name: str
    datatype: str
    shape: list[int]
    parameters: Parameters


class ModelMetadata(BaseModel):
    """A model, as both ways to ask it see it."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class Live(BaseModel):
    """Whether the process is alive."""

    live: bool


class Ready(BaseModel):
    """Whether the server, or the model of that name, should get traffic."""

    name: str | None = None
    ready: bool


class IndexRequest(BaseModel):
    """What of the repository is asked for; an empty body means all."""

    ready: bool = Field(False, description="Whether only what is ready is wanted.")


class IndexEntry(BaseModel):
    """A loaded version of a model, or a model that cannot be loaded. A reason beside `READY` says why its present state
    in the repository is not the one that answers.
    """

    name: str
    version: str
    state: str
    reason: str


class Statistics(BaseModel):
    """What Triton's statistics extension tells of each model."""

    model_stats: list[dict[str, Any]]
