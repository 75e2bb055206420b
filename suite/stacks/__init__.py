"""The generations of the training and attack API: nothing else looks at a framework's version."""
