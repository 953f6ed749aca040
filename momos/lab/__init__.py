"""The laboratory: data sets, models, the training loop and the study."""
