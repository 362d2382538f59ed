"""What computes: waveform encoders, the transformer, the quantizer, wav2vec 2.0, CTC, presets."""
