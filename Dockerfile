# Roo Vision on a CPU. Dockerfile.cuda is the same with CUDA's libraries; a test keeps the two alike.
#
#   docker build -t roo-vision:cpu .
#   docker run --rm -p 8000:8000 --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges roo-vision:cpu

# Nothing here asks for BuildKit (no cache mounts): a registry's quick builds, `az acr build`, have none.
#
# Any Debian-based Python of 3.11 or newer; the release workflow names it with its digest.
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm

# ── The dependencies, exactly those of the lock, checked by their hashes ─────────────────────────────────────────────
FROM ${PYTHON_IMAGE} AS dependencies
# What is installed, and with it which engine: `--build-arg LOCK=…` takes another of the locks.
ARG LOCK=requirements-cpu.lock
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends binutils && rm -rf /var/lib/apt/lists/*
RUN python -m venv --without-pip /opt/venv
COPY ${LOCK} /tmp/requirements.lock
RUN pip --no-cache-dir --python /opt/venv/bin/python install --no-compile --no-deps --only-binary :all: --require-hashes \
        -r /tmp/requirements.lock
# What the service never uses is left out, and what it imports is compiled: the root file system is read-only later. What
# is left has to load whole, every function that is wanted found.
COPY .docker/thin.py /tmp/
RUN /opt/venv/bin/python /tmp/thin.py thin && LD_BIND_NOW=1 /opt/venv/bin/python /tmp/thin.py check

# ── The service itself, in a folder of its own: a change to it leaves the layer of the dependencies as it is ──────────
FROM ${PYTHON_IMAGE} AS application
COPY --from=dependencies /opt/venv /opt/venv
WORKDIR /src
COPY requirements-build.lock ./
RUN python -m venv /opt/build \
 && /opt/build/bin/pip --no-cache-dir install --require-hashes -r requirements-build.lock
COPY pyproject.toml setup.py README.md LICENSE ./
COPY app ./app
RUN /opt/build/bin/pip --no-cache-dir wheel --no-deps --no-build-isolation --no-index --wheel-dir /tmp/wheel . \
 && pip --no-cache-dir --python /opt/venv/bin/python install --no-compile --no-deps --no-index --target /opt/roo /tmp/wheel/*.whl \
 && /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/roo

# ── What runs ────────────────────────────────────────────────────────────────────────────────────────────────────────
FROM ${PYTHON_IMAGE}
COPY --from=dependencies /opt/venv /opt/venv
COPY --from=application /opt/roo /opt/roo
# The bundled model. Mount a repository of your own over /models to serve that instead.
COPY models /models
# Whose work is in it, and under which licences.
COPY LICENSE NOTICE /licenses/

# ORT_DISABLE_TELEMETRY: ONNX Runtime otherwise reports its use. ROO_MAX_INFLIGHT_BYTES: what is in flight fits into a
# container of one gibibyte; raise it where there is more.
ENV PATH=/opt/roo/bin:/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/opt/roo \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    ORT_DISABLE_TELEMETRY=1 \
    ROO_MODELS_DIR=/models \
    ROO_GRPC_PORT=8001 \
    ROO_MAX_INFLIGHT_BYTES=134217728

USER 10001:10001
WORKDIR /tmp
EXPOSE 8000 8001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import http.client, os; probe = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('ROO_PORT', '8000')), timeout=2); probe.request('GET', '/readyz'); raise SystemExit(probe.getresponse().status != 200)"]
ENTRYPOINT ["roo-vision"]
CMD ["serve"]

ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
ARG SOURCE=unknown
ARG PYTHON_IMAGE
ARG PYTHON_DIGEST=unknown
LABEL org.opencontainers.image.title="roo-vision" \
      org.opencontainers.image.description="Pictures in, detections out: an HTTP server and an Azure Service Bus worker that share one batched inference core." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}" \
      org.opencontainers.image.base.digest="${PYTHON_DIGEST}"
