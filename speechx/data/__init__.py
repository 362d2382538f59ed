"""What comes in: manifests, one reader per corpus, the language mix, batches."""
