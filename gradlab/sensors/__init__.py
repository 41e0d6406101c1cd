"""What is recorded in a pass of a stack, one file each."""
