"""Feature extractors, context networks, encoder, quantizer, presets, model folder."""
