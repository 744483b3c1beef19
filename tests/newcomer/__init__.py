"""What a stranger adds for a fourth platform: one source file, one migration, one simulator."""
