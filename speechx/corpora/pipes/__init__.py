"""What the commands in a wav.scp read; nothing is run."""
