"""Context networks: from the frames of an utterance to vectors that know its other frames."""
