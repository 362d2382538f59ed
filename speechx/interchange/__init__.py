"""Models of other toolkits, read and written without them: names, settings, vocabularies, files."""
