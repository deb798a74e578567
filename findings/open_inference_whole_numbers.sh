#!/usr/bin/env bash
# open-inference-openapi 2.0.0.1, the Open Inference Protocol's own client: whole numbers and booleans leave as fractions.
#
# The client is generated from the protocol's OpenAPI document, where tensor data is a list of "number, string or
# boolean". The generated type tries float first, so that 1 becomes 1.0 and true becomes 1.0, whatever `datatype` says,
# and a whole number beyond 2^53 becomes its neighbour. Answers are read the same way.
#
# Why it matters: a server that takes only whole numbers for INT and only true and false for BOOL, as the protocol's
# text has it, refuses this client for every type but FP and BYTES; one that converts silently may take 2.5 as 2. And
# INT64 ids arrive altered without a word: send them as binary data, or over gRPC.
#
# Seen on 2026-11-30, Python 3.11, Linux, x86_64, with pydantic 2.14.4 and httpx 0.28.1:
#   INT32 [1, 2, 3]          leaves as [1.0, 2.0, 3.0]
#   BOOL [True, False]       leaves as [1.0, 0.0]
#   INT64 [9007199254740993] leaves as [9007199254740992.0]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet open-inference-openapi==2.0.0.1 pydantic==2.14.4 httpx==0.28.1
cat > "$folder/try.py" <<'PYTHON'
import json

import httpx
from open_inference.openapi import types
from open_inference.openapi.client import OpenInferenceClient

sent = []


def answer(request):
    sent.append(request.content)
    return httpx.Response(200, json={"model_name": "m", "id": "1", "outputs": []})


client = OpenInferenceClient(base_url="http://nowhere", httpx_client=httpx.Client(transport=httpx.MockTransport(answer)))
for datatype, data, expected in (
    ("INT32", [1, 2, 3], "[1.0, 2.0, 3.0]"),
    ("BOOL", [True, False], "[1.0, 0.0]"),
    ("INT64", [2**53 + 1], "[9007199254740992.0]"),
):
    tensor = types.RequestInput(name="x", shape=[len(data)], datatype=datatype, data=types.TensorData(__root__=data))
    client.model_infer("m", request=types.InferenceRequest(inputs=[tensor]))
    found = json.dumps(json.loads(sent[-1])["inputs"][0]["data"])
    print(f"{datatype} {data} leaves as {found}")
    assert found == expected, "this has changed"
PYTHON
"$folder/venv/bin/python" "$folder/try.py"
