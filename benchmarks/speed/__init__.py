"""How fast gradlab is, as ratios to what a user would do instead."""
