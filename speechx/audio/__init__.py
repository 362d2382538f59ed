"""Audio: any file to mono float32 at 16 kHz."""
