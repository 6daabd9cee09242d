"""What a pipeline counts, and what the computer tells of itself."""
