"""What is recorded, when, and how: hooks, one metric core on [replica, batch, unit], the schedule."""
