"""What is trained: architectures, BatchNorm, its phases and fixes; Keras is an argument."""
