"""What the scalers do at a shift change: their published rules, run over replicas, nodes and a bus that have bounds.

python -m benchmarks.scaling            the tables of docs/scaling.md, and its plot
"""
