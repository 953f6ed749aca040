"""The parts of a report's page: its frame, its figures and its tables."""
