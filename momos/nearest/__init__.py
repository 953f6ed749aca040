"""The nearest motif of every block, exactly."""
