"""What every room may use: errors, the grammar of items, files, identity, the machine."""
