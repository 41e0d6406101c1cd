"""The optimisers by name, free of torch."""

OPTIMIZERS = {
    "sgd": "plain stochastic gradient descent",
    "momentum": "SGD with heavy-ball momentum, 0.9 unless given",
    "nesterov": "SGD with Nesterov's momentum, 0.9 unless given",
    "adam": "Adam, betas 0.9 and 0.999, weight decay added to the gradient",
    "adamw": "Adam with decoupled weight decay",
    "rmsprop": "RMSprop, alpha 0.99, momentum 0 unless given",
}

EVALUATION_ROWS = 4096
"""Validation rows at a time: bounds memory, changes no result."""
