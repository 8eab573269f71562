"""Long work in a process of its own, which survives the screen that began it: fetching a model, building one."""
