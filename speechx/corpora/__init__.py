"""Readers of corpora, as they are published, to manifests: one file or folder per corpus."""
