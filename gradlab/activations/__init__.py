"""Activation functions: specifications free of torch, with the torch kernel loaded on use.

get("leaky_relu:negative_slope=0.2")   one of the registry, its parameters bound
get("mypackage.acts:snake", own=True)  a user's own: an nn.Module class or a function of a tensor
"""

from gradlab.activations.lookup import get, names, registered
from gradlab.activations.spec import Activation, Definition

__all__ = ["Activation", "Definition", "get", "names", "registered"]
