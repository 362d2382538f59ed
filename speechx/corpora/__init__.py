"""From corpora as they are published, to manifests: one file per corpus."""
