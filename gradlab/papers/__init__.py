"""Published results beside what gradlab measures: one module a result. `registry` is free of torch."""
