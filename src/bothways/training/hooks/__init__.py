"""Small objects that are called after each optimizer step: log, evaluation, alarm, checkpoint."""
