"""Every instrument, declared once.

The OpenTelemetry API alone is used here: until `app.telemetry.setup` installs a provider, recording costs next to
nothing and goes nowhere. `docs/metrics.md` lists the instruments.
"""

from collections.abc import Callable, Iterable

from opentelemetry import metrics as otel
from opentelemetry.metrics import CallbackOptions, Observation

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
BATCH_SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)

meter = otel.get_meter("roo_vision")

requests = meter.create_counter("roo_requests", description="Pictures answered, by source, model and outcome.")
request_seconds = meter.create_histogram(
    "roo_request",
    unit="s",
    description="Time from admission to answer, by source and model.",
    explicit_bucket_boundaries_advisory=SECONDS,
)
stage_seconds = meter.create_histogram(
    "roo_stage",
    unit="s",
    description="Time in each stage (queue, prepare, compute, finish), by source and model.",
    explicit_bucket_boundaries_advisory=SECONDS,
)
batch_size = meter.create_histogram(
    "roo_batch_size",
    description="Pictures computed together, by model.",
    explicit_bucket_boundaries_advisory=BATCH_SIZES,
)
messages = meter.create_counter(
    "roo_messages",
    description="Messages settled, by queue, outcome (complete, dead_letter, abandon, leave) and reason.",
)
message_seconds = meter.create_histogram(
    "roo_message",
    unit="s",
    description="Time from receipt to settlement, by queue.",
    explicit_bucket_boundaries_advisory=SECONDS,
)
refusals = meter.create_counter(
    "roo_refusals", description="HTTP requests turned away at the gate, by the error's code."
)
out_of_memory = meter.create_counter(
    "roo_out_of_memory", description="Batches that did not fit into the device's memory, by model."
)
lane_restarts = meter.create_counter("roo_lane_restarts", description="Lanes that died and were replaced.")


def observe(name: str, description: str, read: Callable[[], Iterable[tuple[float, dict[str, str]]]]) -> None:
    """Declare a gauge whose values and attributes are read when somebody looks; nothing polls."""

    def callback(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(value, attributes) for value, attributes in read()]

    meter.create_observable_gauge(name, callbacks=[callback], description=description)
