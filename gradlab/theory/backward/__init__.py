"""How the second moments of a gradient change from what an operation puts out to what it takes, one family a file.

Each function takes a `Field`, the moments of delta at an operation's output, and what is known of the operation (its
weights, the moments of what it was given), and returns the field of its operand. All assume that delta is independent
of the forward pass (Poole et al. 2016; Schoenholz et al. 2017; "gradient independence", Yang 2020).
"""
