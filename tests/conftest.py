"""What every test gets: servers. Each plugin owns its fixtures and options."""

pytest_plugins = [
    "tests.plugins.browser",
    "tests.plugins.servers",
    "tests.plugins.umami",
    "tests.plugins.directions",
]
