"""What tests share. Tests import from here, never from one another."""
