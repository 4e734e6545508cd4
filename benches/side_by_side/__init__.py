"""usher beside other proxies, on one machine, under one load."""
