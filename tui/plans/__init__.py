"""The plan for people: this machine looked at, every preset planned for it, and what a plan says in lines."""
