"""The Open Inference Protocol (version 2), whichever way it comes: REST and gRPC say the same in two notations."""
