"""The service beside what people serve models with: mosec, LitServe and plain FastAPI, in one run (`make bench-peers`).

Each peer lives in an environment of its own and answers the same pictures with the same network, decoding and session
settings (`pipeline.py`); what differs is how requests come to a core and how batches are made.
"""
