"""What is read out: greedy search, inventory mapping, scoring."""
