"""What was measured of the loss of a model file, and what to measure: light values, for whoever shows or wants them."""
