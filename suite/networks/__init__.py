"""The networks that are trained: architectures, BatchNorm, phases, fixes; Keras is an argument."""
