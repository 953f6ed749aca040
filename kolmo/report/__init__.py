"""The report of a run: its data, its table, what they say, and how they are shown."""
