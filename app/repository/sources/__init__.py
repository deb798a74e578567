"""Where models come from: places outside of this machine's repository, and how they are brought from and to there."""
