"""What is wrong with a run or a model."""
