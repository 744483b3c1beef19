"""What `etl` remembers of its own work: runs, seats, cursors, debts, rejects, doubts."""
