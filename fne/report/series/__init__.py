"""What a series of studies says as a whole. Each member has its own report too."""
