"""What comes in: manifests, the language mix, labels, batches."""
