"""Writing: normalisation, vocabularies, IPA, articulatory features, inventories, G2P."""
