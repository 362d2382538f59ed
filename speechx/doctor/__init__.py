"""`speechx data doctor`: finds what is wrong with a corpus before a model is trained on it."""
