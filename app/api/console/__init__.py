"""The console: a page for those who look at pictures, and what only it asks for."""
