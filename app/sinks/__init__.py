"""Answers elsewhere: places beside the results queue where the answer to every message is kept."""
