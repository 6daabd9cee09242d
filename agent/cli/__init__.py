"""edge-agent's verbs, a file each."""
