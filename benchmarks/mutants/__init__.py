"""Small mistakes put into a copy of the package, one at a time: does a fast test fail? See docs/testing.md."""
