"""The gRPC front: the Open Inference Protocol's messages to calls, answers to messages, errors to statuses."""
