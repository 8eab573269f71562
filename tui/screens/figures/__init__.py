"""Every figure of the screen explained: what it is, where it comes from, and how sure it is."""
