"""Every instrument, declared once.

`docs/metrics.md` lists them, and a test compares it with `DECLARED`. What a label may say is bounded by what is served
and configured; ids, addresses and file names are never labels.
"""

from typing import TypeVar

from app.telemetry.instruments import Counter, Gauge, Histogram, Instrument, Observed

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
AGES = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0)
BATCH_SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
TILES = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
AGREEMENTS = (0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.999, 1.0)
SHIFTS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
SHARES = (0.125, 0.25, 0.5, 0.75, 1.0)

DECLARED: dict[str, Instrument] = {}
"""Every instrument by its name for Prometheus."""

T = TypeVar("T", bound=Instrument)


def _declared(instrument: T) -> T:
    DECLARED[instrument.prometheus_name] = instrument
    return instrument


def _counter(name: str, description: str, *labels: str) -> Counter:
    return _declared(Counter(name, description, *labels))


def _histogram(
    name: str, description: str, *labels: str, unit: str = "s", buckets: tuple[float, ...] = SECONDS
) -> Histogram:
    return _declared(Histogram(name, description, *labels, unit=unit, buckets=buckets))


def _gauge(name: str, description: str, *labels: str, unit: str = "") -> Gauge:
    return _declared(Gauge(name, description, *labels, unit=unit))


def _observed(name: str, description: str, *labels: str, unit: str = "") -> Observed:
    return _declared(Observed(name, description, *labels, unit=unit))


def _observed_counter(name: str, description: str, *labels: str, unit: str = "") -> Observed:
    return _declared(Observed(name, description, *labels, unit=unit, kind="counter"))


# The HTTP front. Named by OpenTelemetry's semantic conventions; what is refused before the core is here as well.
http_seconds = _histogram(
    "http.server.request.duration",
    "Time from a request's head to the end of its answer.",
    "http.request.method",
    "http.route",
    "http.response.status_code",
)
refusals = _counter("roo_refusals", "Requests turned away before the application, by the error's code.", "code")
rpc_seconds = _histogram(
    "rpc.server.call.duration",
    "Time from a gRPC call's head to the end of its answer; a stream is one call.",
    "rpc.method",
    "rpc.response.status_code",
)

# The core.
requests = _counter(
    "roo_requests", "Pictures, and rows of tensors, answered, by outcome.", "source", "model", "version", "outcome"
)
chains = _counter("roo_chains", "Pictures that were sent through a chain, by outcome.", "source", "chain", "outcome")
request_seconds = _histogram("roo_request", "Time from admission to answer.", "source", "model", "version")
crops = _counter(
    "roo_crops",
    "Parts of pictures, answered by themselves, by outcome.",
    "source",
    "model",
    "version",
    "outcome",
)
tiles = _histogram("roo_tiles", "Tiles that a picture was divided into.", "model", "version", unit="", buckets=TILES)
stage_seconds = _histogram("roo_stage", "Time in each stage.", "source", "model", "version", "stage")
batch_size = _histogram(
    "roo_batch_size", "Pictures computed together.", "model", "version", unit="", buckets=BATCH_SIZES
)
batch_fill = _histogram(
    "roo_batch_fill_ratio", "Size of each batch to the model's largest.", "model", "version", unit="1", buckets=SHARES
)
out_of_memory = _counter("roo_out_of_memory", "Batches that did not fit into the device's memory.", "model", "version")
lane_restarts = _counter("roo_lane_restarts", "Lanes that died and were replaced.")
waiting = _observed("roo_waiting", "Pictures queued for a lane.", "priority")
oldest_waiting = _observed("roo_oldest_waiting", "How long the longest-queued picture has waited.", unit="s")
response_cache = _counter(
    "roo_response_cache",
    "Pictures whose answers were looked for among those from before.",
    "model",
    "version",
    "outcome",
)
response_cache_held = _observed("roo_response_cache_held", "Memory that answers from before take.", unit="By")
response_cache_entries = _observed("roo_response_cache_entries", "Answers from before that are kept.")
in_flight = _observed("roo_in_flight", "Pictures admitted and not yet answered.")
permits_free = _observed("roo_permits_free", "Pictures more that would be admitted now.", "priority")
picture_seconds = _observed(
    "roo_picture", "Measured time that a lane spends on a picture.", "model", "version", unit="s"
)
pending_seconds = _observed("roo_pending", "Work that waits: queued pictures x time for each / lanes.", unit="s")
lanes = _observed("roo_lanes", "Lanes alive.")
ready = _observed("roo_ready", "1 while traffic is welcome, as /readyz says.")

# A version that computes unsent, beside what was sent by another (`against`).
shadows = _counter(
    "roo_shadow",
    "Pictures that a version was to compute unsent, by what became of them.",
    "model",
    "version",
    "against",
    "outcome",
)
shadow_agreement = _histogram(
    "roo_shadow_agreement_ratio",
    "Share of what two versions' answers to a picture say that is alike.",
    "model",
    "version",
    "against",
    unit="1",
    buckets=AGREEMENTS,
)
shadow_things = _counter(
    "roo_shadow_things", "What two versions' answers to a picture say, by kind.", "model", "version", "against", "kind"
)
shadow_shift = _histogram(
    "roo_shadow_score_shift",
    "Difference of the scores of what is alike.",
    "model",
    "version",
    "against",
    unit="",
    buckets=SHIFTS,
)
shadow_seconds = _histogram(
    "roo_shadow_work",
    "Lane time of a picture that both versions computed, by whose it is.",
    "model",
    "version",
    "against",
    "by",
)

# The queue front.
messages = _counter("roo_messages", "Messages by what became of them.", "queue", "outcome", "reason")
message_seconds = _histogram("roo_message", "Time from receipt to settlement.", "queue", buckets=AGES)
message_age = _histogram("roo_message_age", "Time from a message's sending to its settlement.", "queue", buckets=AGES)
lock_margin = _histogram("roo_lock_margin", "Time left of a message's lock when it was settled.", "queue", buckets=AGES)
locks_lost = _counter("roo_locks_lost", "Messages whose lock was lost before they were settled.", "queue")
messages_held = _observed("roo_messages_held", "Messages received and not yet settled.", "queue")
oldest_message = _observed(
    "roo_oldest_message", "Age of the oldest message that is held, from its sending.", "queue", unit="s"
)
credit = _observed("roo_credit", "How many messages more would be taken now.", "queue")
queue_depth = _observed(
    "roo_queue_depth", "Messages on the queue, as the broker counts them at most every 30 s.", "queue", "state"
)
queue_connected = _observed("roo_queue_connected", "1 while there is a link to the queue.", "queue")
queue_halted = _observed("roo_queue_halted", "1 while nothing is received because results or pictures fail.", "queue")

sink_results = _counter("roo_sink_results", "Results that were to be kept by a sink, by outcome.", "sink", "outcome")
sink_seconds = _histogram("roo_sink", "Time that keeping a result took, all tries included.", "sink")

# What is loaded, and on what.
device = _observed("roo_device", "1 for the device in use.", "device", "asked")
model_info = _observed("roo_model_info", "1 for every loaded model.", "model", "version", "engine", "device")
model_failed = _observed("roo_model_failed", "1 for every model of the repository that is not served.", "model")
traffic_share = _observed(
    "roo_traffic_share_ratio", "Share of the requests that name no version.", "model", "version", unit="1"
)
rollout = _observed("roo_rollout", "1 for the phase that a model's roll-out is in.", "model", "version", "phase")
model_stale = _observed(
    "roo_model_stale", "1 for every model that answers from an older state: its present one cannot be loaded.", "model"
)
model_changes = _counter(
    "roo_model_changes", "Models loaded, reloaded and unloaded at run time, by outcome.", "model", "change", "outcome"
)
model_change_seconds = _histogram(
    "roo_model_change", "Time that such a change took.", "change", "outcome", buckets=AGES
)
model_load_seconds = _gauge("roo_model_load", "Time that loading a model took.", "model", "version", unit="s")
model_warm_up_seconds = _gauge("roo_model_warm_up", "Time that warming a model up took.", "model", "version", unit="s")

# The process; its CPU time, files and the interpreter's figures are the Prometheus client's own.
cpu_seconds = _observed_counter("process.cpu.time", "CPU time of all threads.", unit="s")
memory_used = _observed("process.memory.usage", "Resident memory.", unit="By")
memory_limit = _observed("roo_memory_limit", "Memory that the container may use, where it is limited.", unit="By")
event_loop_lag = _histogram("roo_event_loop_lag", "How late a timer of one second came.")
log_lines_dropped = _observed_counter("roo_log_lines_dropped", "Log lines lost because nobody read them.")

# GPUs, where NVML finds any.
gpu_utilization = _observed("roo_gpu_utilization", "Share of the time in which a kernel ran.", "gpu", unit="1")
gpu_memory_used = _observed("roo_gpu_memory_used", "Memory in use on the GPU.", "gpu", unit="By")
gpu_memory_total = _observed("roo_gpu_memory_total", "Memory of the GPU.", "gpu", unit="By")
gpu_temperature = _observed("roo_gpu_temperature", "Temperature of the GPU.", "gpu", unit="Cel")
gpu_power = _observed("roo_gpu_power", "Power that the GPU draws.", "gpu", unit="W")
