"""How steps are run. The only place that knows torch.distributed, precision and checkpoints."""
