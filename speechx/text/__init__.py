"""Text: normalisation, vocabularies, IPA, articulatory features, phone inventories, G2P."""
