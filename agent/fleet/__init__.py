"""The operator's desk: edge-fleet makes and keeps a repository of models, and says which device is to run which."""
