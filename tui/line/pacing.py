"""How fast text may grow on the screen: as fast as the line takes it."""
