"""The deep MLP and its initialisers. `inits` is free of torch; everything else loads it."""
