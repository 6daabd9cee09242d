"""edge-agent: camera streams in, detections out, on small Linux devices."""

__version__ = "0.1.0"
