"""Every error a user can meet, named by its meaning.

Where each is raised on a picture's way, and nobody between catches it::

    front ───────► registry ────► admission ─────► batcher ─────────► lane: prepare ──► compute ──► finish
    InvalidRequest ModelNotFound  PayloadTooLarge  DeadlineExceeded   InvalidImage      EngineFailure
    NotAcceptable  Loading        UnsupportedImage Draining           (each for its own picture alone)
    UploadTimeout                 ImageTooLarge
                                  Overloaded

A message's way has a few more, at both ends of this: its form and its blob before, its result after. Before all of
it, a caller over HTTP meets the gate: Unauthorized, Forbidden, RateLimited, IdentityUnavailable.

A front turns the error into its own language in one table: `app.api.problems` into an HTTP status,
`app.servicebus.settlement` into what becomes of the message. The errors themselves know neither HTTP nor queues; they
carry a stable `code`, whether trying again can help, and a text that is safe to show to anybody.
"""

from typing import ClassVar


class RooError(Exception):
    """Base of all errors that Roo Vision raises on purpose.

    The message is public: it says what was wrong and how to mend it, and holds no secret and no traceback.
    """

    code: ClassVar[str]


class RequestError(RooError):
    """One request, or one picture of it, was not answered."""

    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        """`retry_after` is in seconds: how long a caller should wait before it tries again."""
        super().__init__(message)
        self.retry_after = retry_after


class InvalidRequest(RequestError):
    """The request is not of the documented form."""

    code = "invalid_request"


class NotAcceptable(RequestError):
    """The answer cannot be given in any form that the caller accepts."""

    code = "not_acceptable"


class UploadTimeout(RequestError):
    """The request's body did not arrive in time."""

    code = "upload_timeout"
    retryable = True


class UnsupportedImage(RequestError):
    """The bytes are not a picture in a format that is served."""

    code = "unsupported_image"


class InvalidImage(RequestError):
    """The picture is damaged, truncated or cannot be decoded."""

    code = "invalid_image"


class PayloadTooLarge(RequestError):
    """More bytes than the service takes."""

    code = "too_many_bytes"


class ImageTooLarge(RequestError):
    """The header declares more pixels than the service decodes."""

    code = "too_many_pixels"


class ModelNotFound(RequestError):
    """No model, or no version of it, of that name is loaded."""

    code = "model_not_found"


class DeadlineExceeded(RequestError):
    """The answer would have come after the caller's deadline."""

    code = "deadline_exceeded"
    retryable = True


class Overloaded(RequestError):
    """All places are taken; said at the door, before any work."""

    code = "overloaded"
    retryable = True


class Loading(RequestError):
    """The service has started, but its models are not loaded and warm yet; or the last one was unloaded."""

    code = "loading"
    retryable = True


class Draining(RequestError):
    """The service is shutting down and takes nothing new."""

    code = "draining"
    retryable = True


class EngineFailure(RequestError):
    """The model failed on this picture. The cause is in the log, not in the message."""

    code = "engine_failure"
    retryable = True


class CallerError(RequestError):
    """What only a caller over HTTP can meet; who may use a queue is the broker's affair."""


class Unauthorized(CallerError):
    """No key or token was sent, or not one that is known and valid."""

    code = "unauthorized"


class Forbidden(CallerError):
    """The caller is known, but has no role that may ask."""

    code = "forbidden"


class CannotLoad(CallerError):
    """A model cannot be loaded, or may not be unloaded; what was served is served on."""

    code = "cannot_load"


class LetterNotFound(CallerError):
    """There is no such dead letter, or no such queue."""

    code = "letter_not_found"


class NoPicture(CallerError):
    """A message has no picture that could be shown, or it could not be fetched."""

    code = "no_picture"


class QueueUnavailable(CallerError):
    """The broker does not answer, or says no."""

    code = "queue_unavailable"
    retryable = True


class UnsupportedEncoding(CallerError):
    """The body is packed in a way that is not read (`Content-Encoding`); what is in it nobody knows."""

    code = "unsupported_encoding"


class RateLimited(CallerError):
    """The caller sends more requests than it may."""

    code = "rate_limited"
    retryable = True


class IdentityUnavailable(CallerError):
    """The token's issuer cannot be asked for its signing keys, so that no token can be checked."""

    code = "identity_unavailable"
    retryable = True


class MessageError(RequestError):
    """What only a queue's message can meet."""


class InvalidMessage(MessageError):
    """The message is not of a documented form."""

    code = "invalid_message"


class SourceRefused(MessageError):
    """The message points to a place from which nothing is fetched."""

    code = "source_refused"


class SourceNotFound(MessageError):
    """There is no blob where the message says."""

    code = "source_not_found"


class ReplyRefused(MessageError):
    """The result may not, or cannot, be sent where the message asks for it."""

    code = "reply_refused"


class ResultTooLarge(MessageError):
    """The result does not fit into a message, and there is no container for large ones."""

    code = "result_too_large"


class ResultRefused(MessageError):
    """A sink takes results, but will never take this one."""

    code = "result_refused"


class StorageUnavailable(MessageError):
    """The blob storage does not answer, or asks for patience."""

    code = "storage_unavailable"
    retryable = True


class ResultsUnavailable(MessageError):
    """The result could not be stored where results go."""

    code = "results_unavailable"
    retryable = True


class LockLost(MessageError):
    """The broker has given the message to somebody else; it is no longer ours to settle."""

    code = "lock_lost"
    retryable = True


class StartupError(RooError):
    """The service cannot start as configured; the message names the place and the cure."""

    code = "cannot_start"


class InvalidManifest(StartupError):
    """A `model.yaml` or the files beside it are not what they should be."""

    code = "invalid_manifest"


class UntrustedModel(InvalidManifest):
    """A model's files are not those that a trusted key has signed."""

    code = "untrusted_model"


class ModelsUnavailable(StartupError):
    """Where models come from does not answer, or does not give them."""

    code = "models_unavailable"


class ModelsRefused(StartupError):
    """What is in the place that models come from, or go to, is not as it must be."""

    code = "models_refused"


class DeviceUnavailable(StartupError):
    """The device that was demanded is not there or not usable."""

    code = "device_unavailable"


class EngineUnavailable(StartupError):
    """The engine that was asked for is not installed, or cannot do what was asked of it."""

    code = "engine_unavailable"
