"""Whether a change leaves gradlab's numbers and speed as they were."""
