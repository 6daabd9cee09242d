"""What a model is on disk: manifest, labels, what its file tells of itself, and the `ModelSpec` that all of it amounts to."""
