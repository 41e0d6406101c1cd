"""The results folder: schemas, the journal of finished stacks, tables, the manifest."""
