"""Commands that choose: a backbone, settings, the texts to label next."""
