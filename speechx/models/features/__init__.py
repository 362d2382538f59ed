"""Feature extractors: from a waveform to frames."""
