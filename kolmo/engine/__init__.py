"""The engine: a run as jobs that any executor takes, each of which reads its own byte ranges."""
