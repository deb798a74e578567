"""What the process runs on: its control group's limits, the C library's allocator."""
