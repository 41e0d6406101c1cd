"""The stacked network: modules, buffered passes, products, and the reductions that every metric is made of."""
