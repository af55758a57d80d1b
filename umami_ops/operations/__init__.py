"""What umami-ops can do, one verb a module. Operations know no terminal and no dialect by name."""
