"""Series of checkpoints: their steps, their metrics, their complexity step by step."""
