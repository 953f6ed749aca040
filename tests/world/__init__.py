"""Faults of the world: kills, signals, full disks, limits; a harness that makes them on purpose."""
