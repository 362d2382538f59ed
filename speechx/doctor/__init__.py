"""`speechx data doctor`: everything that is wrong with a corpus, before a model hears it."""
