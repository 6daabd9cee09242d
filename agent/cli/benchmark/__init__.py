"""What `edge-agent bench` measures."""
