"""What a series of studies says as a whole: its tables, its figure, its page. Each member has its own report too."""
