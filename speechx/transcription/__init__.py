"""Audio to text or phones: any length, with times, to files."""
